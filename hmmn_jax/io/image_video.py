"""Reads videos that consist of image files. Frames are read on demand."""

import functools
import operator
from collections.abc import Iterable
from pathlib import Path
from typing import SupportsIndex

import numpy as np
from jaxtyping import UInt8

from hmmn_jax.errors import DataError
from hmmn_jax.io.inspection import PAGED, FrameFacts, check_headers, inspect_frames, other_size, read_header, require_one_depth
from hmmn_jax.io.notes import Notes
from hmmn_jax.io.pixels import decode, has_16_bits, open_image, to_rgb
from hmmn_jax.io.video import Video


class ImageVideo(Video):
    """A video whose frames are image files or the pages of one file. EXIF orientation is applied. Frames are not cached.

    16-bit grey images are scaled by the range of values in the whole video. The range is computed when the first 16-bit frame
    is read.
    """

    def __init__(self, paths: Iterable[Path], name: str | None = None, fps: float | int = 0.0):
        """Creates a video from image files. The default name is the name of the first file's folder.

        Raises ValueError for an empty list.
        """
        self._sources: tuple[tuple[Path, int | None], ...] = tuple((path, None) for path in paths)
        if not self._sources:
            raise ValueError(f"{name or 'images'}: the list of files is empty, expected at least one file")
        self.name = self._sources[0][0].parent.name if name is None else name
        self.fps = fps
        self.frame_names = tuple(path.stem for path, _ in self._sources)
        self.file_names = tuple(path.name for path, _ in self._sources)
        self._first: tuple[Path, tuple[int, int]] | None = None  # path and size of the first frame that was read

    @classmethod
    def of_pages(cls, path: Path) -> "ImageVideo":
        """Creates a video from the pages of one file. Frames have no names. Raises DataError if the file is not an image."""
        with open_image(path) as image:
            count = getattr(image, "n_frames", 1) if image.format in PAGED else 1
        video = cls([path], path.stem)
        video._sources = tuple((path, page) for page in range(count))
        video.frame_names = video.file_names = None
        return video

    @functools.cached_property
    def size(self) -> tuple[int, int]:  # type: ignore[override]  # mypy does not know that cached properties can be set
        """The height and width of the upright frames, read from the first frame's header.

        Raises:
            DataError: the header cannot be read.
        """
        width, height = read_header(*self._sources[0]).size
        return height, width

    def __len__(self) -> int:
        return len(self._sources)

    def __getitem__(self, index: SupportsIndex) -> UInt8[np.ndarray, "h w 3"]:
        """Reads a frame.

        Raises:
            DataError: the frame cannot be read, or its size differs from the size of the first frame that was read.
        """
        path, page = self._sources[operator.index(index)]
        with open_image(path, page) as image:
            pixels = decode(image, path)
        height, width = pixels.values.shape[:2]
        first, size = self._first = self._first or (path, (width, height))
        if size != (width, height):
            raise DataError(other_size(path, (width, height), first, size))
        if not pixels.sixteen:
            return pixels.values
        return to_rgb(pixels, self._ranges.get(pixels.values.ndim, pixels.range), path)

    @property
    def range_in_use(self) -> tuple[int, int] | None:
        """The values that are mapped to 0 and 255 in 16-bit grey images; None if the video has no such images."""
        return self._ranges.get(2)

    def inspect(self, notes: Notes | None = None) -> FrameFacts:
        """Checks the headers of the frames, as described in `inspect_frames`.

        Also decodes 16-bit images, and adds a note with the range of their values.
        """
        if self._sources[0][1] is None:
            facts = inspect_frames((path for path, _ in self._sources), notes)
        else:
            headers = [read_header(*source) for source in self._sources]
            facts = check_headers(headers, notes)
            require_one_depth(headers)
        if facts.sixteen and notes is not None:
            low, high = self._ranges[2]
            path, page = self._sources[0]
            place = path.parent if page is None else path
            notes.add("16-bit frames are scaled by the range of values in the video", "videos", f"{place}: {low} to {high}")
        return facts

    @functools.cached_property
    def _ranges(self) -> dict[int, tuple[int, int]]:
        """The range of values in the 16-bit images, by the number of array dimensions: 2 for grey, 3 for colour."""
        ranges: dict[int, tuple[int, int]] = {}
        for path, page in self._sources:
            with open_image(path, page) as image:
                if not has_16_bits(image):
                    continue
                pixels = decode(image, path)
            low, high = pixels.range
            least, greatest = ranges.get(pixels.values.ndim, (low, high))
            ranges[pixels.values.ndim] = min(low, least), max(high, greatest)
        return ranges
