"""Video files as frames."""

import contextlib
import os
import warnings
from collections.abc import Iterator
from types import ModuleType

import numpy as np
from jaxtyping import UInt8

from hmmn_jax.errors import DataError
from hmmn_jax.io.files import check_name, reason, user_path
from hmmn_jax.io.image_frames import ImageFrames
from hmmn_jax.io.inspection import FrameFacts
from hmmn_jax.io.notes import Notes

STACK_SUFFIXES = (".tif", ".tiff")


class VideoFile:
    """A video, iterated over as `uint8 [h,w,3]` RGB frames; every iteration decodes it anew and holds one frame.

    Rotated as its metadata say, else as stored: every frame once, none resized. The pages of a TIFF are frames, too.

    Attributes:
        path: the file.
        fps: frames per second, 0 if unknown.
        frame_count: about how many frames there are, by duration and rate; None if unknown.
    """

    def __init__(self, path: str | os.PathLike):
        """Reads the header only.

        Raises:
            DataError: a file that is missing or not a video, or whose name cannot name a sequence; imageio-ffmpeg is missing.
        """
        self.path = user_path(path)
        if not self.path.is_file():
            found = "a folder" if self.path.is_dir() else "no such file"
            raise DataError(f"{path}: {found}; give a video file")
        check_name(self.path.stem, self.path)
        self._pages: ImageFrames | None = None
        if self.path.suffix.lower() in STACK_SUFFIXES:
            self._pages = ImageFrames.of_pages(self.path)
            self.fps, self.frame_count = 0.0, len(self._pages)
            return
        frames, header = self._start()
        frames.close()
        self.fps = float(header["fps"])
        self.frame_count = round(header["fps"] * header["duration"]) or None
        self._size = header["size"]

    def count(self) -> int:
        """Counts the frames, which takes reading the file, but not decoding it. Raises DataError."""
        if self._pages:
            return len(self._pages)
        with self._decoding_errors(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"os\.fork\(\) was called", RuntimeWarning)
            return int(import_ffmpeg().count_frames_and_secs(str(self.path.absolute()))[0])

    def inspect(self, notes: Notes | None = None) -> FrameFacts:
        """Says what the headers say. Raises DataError where pages of a TIFF cannot be frames of one video."""
        return FrameFacts(*self._size) if self._pages is None else self._pages.inspect(notes)

    def __iter__(self) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        """Decodes the frames. Raises DataError where that fails; warns where the video ends far too early."""
        return self._decode() if self._pages is None else iter(self._pages)

    def _decode(self) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        frames, header = self._start()
        width, height = header["size"]
        count = 0
        with contextlib.closing(frames), self._decoding_errors():
            for frame in frames:
                count += 1
                yield np.frombuffer(frame, np.uint8).reshape(height, width, 3)
        if count == 0:
            raise DataError(f"{self.path}: no frame can be decoded; convert the video again, for instance to H.264 in .mp4")
        if self.frame_count and count < 0.9 * self.frame_count - 1:
            warnings.warn(f"{self.path}: ends after {count} of about {self.frame_count} frames; is it damaged?", stacklevel=2)

    def _start(self):
        """Starts the decoder, a generator of bytes, and takes the header off it."""
        ffmpeg = import_ffmpeg()
        with self._decoding_errors(), warnings.catch_warnings():
            # JAX warns of forks, but the child becomes ffmpeg at once.
            warnings.filterwarnings("ignore", r"os\.fork\(\) was called", RuntimeWarning)
            # An absolute path cannot pass for a protocol; frames are neither doubled nor dropped for the sake of the rate.
            frames = ffmpeg.read_frames(str(self.path.absolute()), output_params=["-fps_mode", "passthrough"])
            return frames, next(frames)

    @contextlib.contextmanager
    def _decoding_errors(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # a header that cannot be parsed raises any kind
            empty = self.path.is_file() and self.path.stat().st_size == 0
            found = "an empty file" if empty else f"no video that can be decoded ({reason(error)})"
            raise DataError(f"{self.path}: {found}; copy it again, or convert it, for instance to H.264 in .mp4") from error


def import_ffmpeg() -> ModuleType:
    """Imports imageio_ffmpeg, which brings the program ffmpeg along. Raises DataError where either is not there."""
    try:
        import imageio_ffmpeg

        imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError) as error:
        raise DataError(f"videos need imageio-ffmpeg: pip install hmmn-jax[video] ({reason(error)})") from error
    return imageio_ffmpeg
