"""Opens video files in any format that FFmpeg supports, and multi-page images."""

import contextlib
import copy
import operator
import os
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, SupportsIndex

import numpy as np
from jaxtyping import UInt8

from hmmn_jax.errors import DataError
from hmmn_jax.io.files import check_name, user_path
from hmmn_jax.io.film_decoder import FilmDecoder, RgbConverter, decoding_errors, upright_filters
from hmmn_jax.io.film_index import FilmIndex
from hmmn_jax.io.image_video import ImageVideo
from hmmn_jax.io.video import Video

if TYPE_CHECKING:
    import av

_BACKWARDS_BYTES = 1 << 26  # maximum size of the decoded frames when reading backwards, in bytes; 54 frames at 480p
PAGED_SUFFIXES = (".tif", ".tiff", ".webp")  # suffixes of files that Pillow reads


def open_video(path: str | os.PathLike) -> Video:
    """Opens a TIFF or WebP file as an `ImageVideo`, and any other file as a `VideoFile`. Raises DataError on failure."""
    file = _check_file(path)
    return ImageVideo.of_pages(file) if file.suffix.lower() in PAGED_SUFFIXES else VideoFile(file)


class VideoFile(Video):
    """A video file, decoded with PyAV. Each frame appears once and is rotated according to the metadata, but not resized.

    The file is decoded sequentially during iteration, for `len`, and to read a frame that has not been decoded yet. The first
    sequential decode builds an index of the frames (`FilmIndex`). To read an indexed frame, the decoder seeks to this frame.
    Reading forwards decodes each frame once. Jumping to a frame decodes all frames since the preceding key frame. `list(video)`
    calls `len` first, and therefore decodes a new file twice. `list(iter(video))` decodes the file once. Iterators are
    independent of each other. Reading by index is thread-safe, because a lock serialises the reads.
    """

    def __init__(self, path: str | os.PathLike):
        """Reads the header and the first frame.

        Raises:
            DataError: the file is missing or not a video, its name is not a valid sequence name, or PyAV is missing.
        """
        self.path = _check_file(path)
        self.name = self.path.stem
        with self._open() as decoder:
            if (first := next(decoder.frames(), None)) is None:
                way_out = "Copy the file again, or convert it, for instance to H.264 in .mp4"
                raise DataError(f"{self.path}: no frame can be decoded. {way_out}")
            self.fps, self._frame_count = decoder.fps, decoder.frame_count
            self._orientation = upright_filters(first)
            self.size = RgbConverter(self._orientation)(first).shape[:2]
        self._lock = threading.RLock()
        self._index = FilmIndex(self.path, self._orientation)
        self._is_complete = False  # whether the index is complete
        self._in_order = self._decode()

    def __reduce__(self) -> tuple:
        return VideoFile, (self.path,)

    @property
    def length_hint(self) -> int:
        """The number of frames. Until the file has been decoded, the number is approximate, or 0 if unknown."""
        return len(self._index) if self._is_complete else self._frame_count

    def __len__(self) -> int:
        with self._lock:
            while not self._is_complete:
                self._decode_next()
            return len(self._index)

    def __iter__(self) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        """Decodes the frames in order. Raises DataError on failure. Warns if over 10 % of the expected frames are missing."""
        return (rgb for _, _, rgb in self._decode())

    def __getitem__(self, index: SupportsIndex) -> UInt8[np.ndarray, "h w 3"]:
        wanted = operator.index(index)
        with self._lock:
            if wanted < 0:
                wanted += len(self)
            while wanted >= len(self._index) and not self._is_complete:
                reached = self._decode_next()
                if reached is not None and reached[0] == wanted:
                    return reached[1]
            if not 0 <= wanted < len(self._index):
                raise IndexError(f"{self.path}: frame {index} does not exist. The video has {len(self._index)} frames")
            with decoding_errors(self.path):
                rgb = self._index.find(wanted)
            if rgb is None:
                raise DataError(f"{self.path}: frame {wanted} has changed. Open the file again")
            return rgb

    def backwards(self, start: int, stop: int) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        """Reads frames stop - 1, stop - 2, ..., start. Decodes each chunk of frames forwards.

        The chunks are small, to limit memory use. For each chunk, decoding starts at the preceding key frame.
        """
        height, width = self.size
        length = max(_BACKWARDS_BYTES // (3 * height * width), 1)
        for end in range(stop, start, -length):
            chunk = [self[index] for index in range(max(end - length, start), end)]
            while chunk:
                yield chunk.pop()

    def second_reader(self) -> "VideoFile":
        """Returns a reader with its own decoders and the same frame index. Completes the index first."""
        len(self)
        other = copy.copy(self)
        other._lock = threading.RLock()
        other._index = self._index.second_reader()
        other._in_order = other._decode()
        return other

    def close(self) -> None:
        """Closes the decoders that stay open for reading by index, but keeps the frame index."""
        with self._lock:
            self._in_order = self._decode()
            self._index.close()

    @contextlib.contextmanager
    def _open(self) -> Iterator[FilmDecoder]:
        with decoding_errors(self.path), contextlib.closing(FilmDecoder(self.path)) as decoder:
            yield decoder

    def _decode(self) -> Iterator[tuple[int, "av.VideoFrame", UInt8[np.ndarray, "h w 3"]]]:
        """Decodes from the start and adds new frames to the index. Yields (frame number, decoded frame, RGB frame)."""
        to_rgb = RgbConverter(self._orientation)
        count = 0
        with self._open() as decoder:
            for index, frame in enumerate(decoder.frames()):
                rgb = to_rgb(frame)
                if rgb.shape[:2] != self.size:
                    sizes = (
                        f"frame {index} has {rgb.shape[1]}x{rgb.shape[0]} pixels, but frame 0 has {self.size[1]}x{self.size[0]}"
                    )
                    raise DataError(f"{self.path}: {sizes}. Convert the video so that all frames have the same size")
                with self._lock:
                    if index == len(self._index):
                        self._index.record(frame, rgb)
                yield index, frame, rgb
                count = index + 1
        is_first, self._is_complete = not self._is_complete, True
        if is_first and count < 0.9 * self._frame_count - 1:
            found = f"the video ends after {count} of about {self._frame_count} frames. The file may be damaged"
            warnings.warn(f"{self.path}: {found}", stacklevel=3)

    def _decode_next(self) -> tuple[int, UInt8[np.ndarray, "h w 3"]] | None:
        """Decodes the next frame when reading by index. Returns (frame number, RGB frame), or None at the end.

        After an error, decoding restarts from the beginning.
        """
        try:
            reached = next(self._in_order, None)
        except BaseException:
            self._in_order = self._decode()
            raise
        if reached is None:
            return None
        index, frame, rgb = reached
        self._index.keep(frame)
        return index, rgb


def _check_file(path: str | os.PathLike) -> Path:
    """Returns the path of a file. Raises DataError if the file does not exist or its name is not a valid sequence name."""
    file = user_path(path)
    if not file.is_file():
        found = "is a folder" if file.is_dir() else "no such file"
        raise DataError(f"{path}: {found}. Pass a video file")
    check_name(file.stem, file)
    return file
