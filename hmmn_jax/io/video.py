"""Defines `Video`, the interface of a seekable sequence of frames."""

import abc
import operator
from collections.abc import Iterator, Sequence
from typing import SupportsIndex

import numpy as np
from jaxtyping import UInt8

from hmmn_jax.io.inspection import FrameFacts
from hmmn_jax.io.notes import Notes


class Video(abc.ABC):
    """A sequence of RGB frames `uint8 [h,w,3]`, all of the same size.

    `video[i]` equals frame i of a sequential decode, byte for byte, regardless of earlier reads. Negative indices count
    from the end. An index beyond the end raises IndexError. Iteration decodes the frames in order and keeps only a few
    frames in memory. Several iterators may be open at the same time.

    Attributes:
        name: name of the folder or file, without suffix. The results of the video are stored under this name.
        size: height and width of the upright frames.
        fps: frames per second (the mean if the rate varies); 0 if unknown.
        frame_names: file names of the frames, without suffix; None if the frames have no file names.
        file_names: file names of the frames, with suffix; None if the frames have no file names.
    """

    name: str
    size: tuple[int, int]
    fps: float = 0.0
    frame_names: tuple[str, ...] | None = None
    file_names: tuple[str, ...] | None = None

    @abc.abstractmethod
    def __len__(self) -> int:
        """Returns the exact number of frames. For a video file, `len` may decode the whole file once."""

    @abc.abstractmethod
    def __getitem__(self, index: SupportsIndex) -> UInt8[np.ndarray, "h w 3"]:
        """Reads one frame. Raises DataError if the frame cannot be read, or IndexError if the frame does not exist."""

    def __iter__(self) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        """Reads the frames in order. Raises DataError if a frame cannot be read."""
        return (self[index] for index in range(len(self)))

    def backwards(self, start: int, stop: int) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        """Reads frames stop - 1, stop - 2, ..., start. Raises DataError on failure, or IndexError if a frame does not exist."""
        return (self[index] for index in reversed(range(start, stop)))

    def __bool__(self) -> bool:
        """Returns True, because a video has at least one frame.

        The default implementation of `bool` would call `len`, which may decode a file.
        """
        return True

    @property
    def length_hint(self) -> int:
        """The approximate number of frames, determined without decoding; 0 if unknown."""
        return len(self)

    def second_reader(self) -> "Video":
        """Returns a second reader of the same frames, for concurrent use."""
        return self

    def inspect(self, notes: Notes | None = None) -> FrameFacts:
        """Reads the headers of the frames and adds remarks to `notes`. Raises DataError if the frames cannot form one video."""
        height, width = self.size
        return FrameFacts(width, height)

    def close(self) -> None:  # noqa: B027, most kinds of videos have nothing to close
        """Closes the files that stay open for reading by index. A later read reopens the files."""


class ArrayVideo(Video):
    """A video whose frames are in memory. The frames are not copied."""

    def __init__(self, frames: np.ndarray | Sequence, name: str = "array", fps: float | int = 0.0):
        """Creates a video from an array `uint8 [t,h,w,3]`, or from a list of arrays `uint8 [h,w,3]`, with at least one frame.

        Raises:
            ValueError: there is no frame, or a frame is not `uint8 [h,w,3]` or differs in size from the first frame.
        """
        if len(frames) == 0:
            raise ValueError(f"{name}: the video has no frames, expected at least one")
        for index, frame in enumerate(frames):
            dtype, shape = getattr(frame, "dtype", type(frame).__name__), np.shape(frame)
            if dtype != np.uint8 or len(shape) != 3 or shape[2] != 3 or 0 in shape:
                raise ValueError(f"{name}: frame {index} is {dtype} {list(shape)}, expected uint8 [height, width, 3]")
            if shape != np.shape(frames[0]):
                first = np.shape(frames[0])
                raise ValueError(
                    f"{name}: frame {index} has the shape {list(shape)}, but frame 0 has the shape {list(first)}. "
                    "All frames must have the same size"
                )
        self._frames = frames
        self.name, self.fps = name, fps
        self.size = np.shape(frames[0])[:2]

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: SupportsIndex) -> UInt8[np.ndarray, "h w 3"]:
        return self._frames[operator.index(index)]
