"""Pictures of masks: frames with coloured objects, as PNG files, MP4 movies and animated GIFs."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from hmmn_jax.errors import DataError
from hmmn_jax.io.files import discard, local_path, part_path, reason, writing_errors
from hmmn_jax.io.video import import_ffmpeg

GIF_SIDE = 480
GIF_PALETTE_FRAMES = 16


class MovieWriter:
    """Writes frames, as they come, to an .mp4 (H.264, which browsers play) or a .gif of at most 480 pixels a side.

    A context manager: the file appears when the block ends well, and nothing is left where it does not. Raises DataError for
    another suffix, for a movie without frames, where writing fails, and for .mp4 without imageio-ffmpeg.
    """

    def __init__(self, path: str | os.PathLike, fps: float | int):
        """`fps` is frames per second; a GIF rounds it to hundredths of a second a frame, of which viewers want at least two."""
        self.path = local_path(path)
        self.fps = fps
        if self.path.suffix.lower() not in _ENCODERS:
            raise DataError(f"{path}: a movie of unknown kind {self.path.suffix!r}; choose .mp4 or .gif")
        if not 0 < fps <= 1000:
            raise DataError(f"{path}: a movie of {fps:g} frames per second; expected a rate above 0 and at most 1000")
        self._size: tuple[int, ...] | None = None

    def __enter__(self) -> "MovieWriter":
        with writing_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._temporary = part_path(self.path)
            self._encoder = _ENCODERS[self.path.suffix.lower()](self._temporary, self.fps)
        return self

    def write(self, frame: UInt8[np.ndarray, "h w 3"]) -> None:
        """Appends a frame, of the size of the first."""
        if frame.shape != (self._size or frame.shape):
            sizes = f"{frame.shape[1]}x{frame.shape[0]} after frames of {self._size[1]}x{self._size[0]}"
            raise DataError(f"{self.path}: a frame of {sizes}; all frames of a movie must have one size")
        self._size = frame.shape
        with writing_errors(self.path):
            self._encoder.write(np.ascontiguousarray(frame))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if kind is not None:
                return
            if self._size is None:
                raise DataError(f"{self.path}: a movie without frames is not written; give at least one")
            with writing_errors(self.path):
                self._encoder.finish()
                os.replace(self._temporary, self.path)
        finally:
            self._encoder.stop()
            discard(self._temporary)


class _Mp4:
    """H.264 by ffmpeg, which is run here rather than by imageio_ffmpeg because that hides whether it succeeded."""

    def __init__(self, path: Path, fps: float | int):
        self.path, self.fps = path, fps
        self.program = import_ffmpeg().get_ffmpeg_exe()
        self.log = tempfile.TemporaryFile()  # noqa: SIM115, closed by stop()
        self.process: subprocess.Popen | None = None

    def write(self, frame: np.ndarray) -> None:
        height, width, _ = frame.shape
        frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")  # halved chroma needs even sizes
        if self.process is None:
            source = f"-f rawvideo -pix_fmt rgb24 -s {frame.shape[1]}x{frame.shape[0]} -r {self.fps} -i -"
            # Said and meant: without these the colours would be of one standard and be shown by another.
            colours = "-vf scale=out_color_matrix=bt709 -colorspace bt709 -color_primaries bt709 -color_trc bt709"
            output = f"{colours} -c:v libx264 -crf 20 -pix_fmt yuv420p -movflags +faststart"
            command = [self.program, "-v", "error", "-y", *source.split(), *output.split(), str(self.path.absolute())]
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self.log)
        try:
            self.process.stdin.write(frame)
        except BrokenPipeError:
            self.finish()  # which knows more
            raise

    def finish(self) -> None:
        self.process.communicate()
        if self.process.returncode != 0:
            self.log.seek(0)
            said = reason(OSError(self.log.read().decode(errors="replace")))
            raise OSError(f"ffmpeg failed with exit code {self.process.returncode} ({said})")

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
        self.log.close()


class _Gif:
    """A GIF by Pillow. Small frames wait on disk, so that one palette can be made from frames of the whole movie."""

    def __init__(self, path: Path, fps: float | int):
        self.path = path
        self.duration = 10 * max(2, round(100 / fps))  # milliseconds; viewers slow down what is faster
        self.frames = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115, closed by stop()
        self.size = (0, 0)
        self.count = 0

    def write(self, frame: np.ndarray) -> None:
        image = Image.fromarray(frame)
        image.thumbnail((GIF_SIDE, GIF_SIDE), Image.Resampling.LANCZOS)
        self.size = image.size
        self.frames.write(image.tobytes())
        self.count += 1

    def finish(self) -> None:
        sample = np.unique(np.linspace(0, self.count - 1, GIF_PALETTE_FRAMES).astype(int))
        colours = Image.fromarray(np.concatenate([self._frame(i) for i in sample.tolist()]))
        palette = colours.quantize(256, method=Image.Quantize.FASTOCTREE)  # a median cut would lose colours of small things
        first, *rest = self._indexed(palette)
        first.save(self.path, format="GIF", save_all=True, append_images=rest, duration=self.duration, loop=0)

    def stop(self) -> None:
        self.frames.close()

    def _frame(self, index: int) -> np.ndarray:
        width, height = self.size
        self.frames.seek(index * width * height * 3)
        return np.frombuffer(self.frames.read(width * height * 3), np.uint8).reshape(height, width, 3)

    def _indexed(self, palette: Image.Image) -> Iterator[Image.Image]:
        for i in range(self.count):
            yield Image.fromarray(self._frame(i)).quantize(palette=palette, dither=Image.Dither.NONE)


_ENCODERS = {".mp4": _Mp4, ".gif": _Gif}
