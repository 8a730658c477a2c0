"""Frames of a video: a folder of images in natural order, or a video file decoded as it is read."""

import contextlib
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
from jaxtyping import UInt8

from hmmn_jax.errors import DataError
from hmmn_jax.layouts.files import contents, reason

IMAGE_SUFFIXES = frozenset((".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"))


def list_frames(folder: str | os.PathLike, exclude: str | os.PathLike | None = None) -> tuple[Path, ...]:
    """Lists the images of a folder in natural order: frame_2 before frame_10. Hidden files and non-images do not count.

    `exclude` names a file in it that is no frame, such as its mask. Raises DataError where there is no folder or no image,
    or where two images have one stem, by which their masks would be told apart.
    """
    folder = Path(folder)
    if not folder.is_dir():
        found = "a file, not a folder" if folder.is_file() else f"no such folder; {contents(folder)}"
        raise DataError(f"{folder}: {found}; give a folder of images")
    excluded = Path(exclude).absolute() if exclude is not None else None
    images = [path for path in folder.iterdir() if _is_image(path) and path.absolute() != excluded]
    if not images:
        raise DataError(f"{folder}: no images; {contents(folder)}; expected files such as 00000.jpg")
    frames = tuple(sorted(images, key=lambda path: natural_order(path.name)))
    by_stem: dict[str, Path] = {}
    for frame in frames:
        if (other := by_stem.setdefault(frame.stem, frame)) != frame:
            raise DataError(f"{folder}: both {other.name} and {frame.name}; keep frames apart from masks and other images")
    return frames


class VideoFile:
    """A video, iterated over as `uint8 [h,w,3]` RGB frames; every iteration decodes it anew and holds one frame.

    Rotated as its metadata say, else as stored: every frame once, none resized.

    Attributes:
        fps: frames per second, 0 if unknown.
        frame_count: about how many frames there are, by duration and rate; None if unknown.
    """

    def __init__(self, path: str | os.PathLike):
        """Reads the header only. Raises DataError for a file that is missing or no video, or without imageio-ffmpeg."""
        self.path = Path(path)
        if not self.path.is_file():
            found = "a folder" if self.path.is_dir() else "no such file"
            raise DataError(f"{path}: {found}; give a video file")
        frames, header = self._start()
        frames.close()
        self.fps = float(header["fps"])
        self.frame_count = round(header["fps"] * header["duration"]) or None

    def __iter__(self) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        """Decodes the frames. Raises DataError where that fails; warns where the video ends far too early."""
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
            found = "an empty file" if self.path.stat().st_size == 0 else f"no video that can be decoded ({reason(error)})"
            raise DataError(f"{self.path}: {found}; copy it again, or convert it, for instance to H.264 in .mp4") from error


def import_ffmpeg() -> ModuleType:
    """Imports imageio_ffmpeg, which brings the program ffmpeg along. Raises DataError where either is not there."""
    try:
        import imageio_ffmpeg

        imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError) as error:
        raise DataError(f"videos need imageio-ffmpeg: pip install hmmn-jax[video] ({reason(error)})") from error
    return imageio_ffmpeg


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()


def natural_order(name: str) -> tuple:
    """Splits a name into text and numbers in turn, a key for sorting by which numbers compare as numbers."""
    parts = re.split(r"(\d+)", name)
    return [int(part) if i % 2 else part.casefold() for i, part in enumerate(parts)], name
