"""Writes frames to MP4 movies and animated GIFs."""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from hmmn_jax.errors import DataError
from hmmn_jax.io.files import discard, local_path, part_path, reason, writing_errors
from hmmn_jax.io.film_decoder import filter_graph, import_av

if TYPE_CHECKING:
    import av.container

GIF_SIDE = 480
GIF_PALETTE_FRAMES = 16
_LARGEST_DENOMINATOR = 100_000  # maximum denominator of frame rates; rates such as 30000/1001 are recovered exactly from floats
_BT709 = 1  # FFmpeg's code for the colour matrix, the primaries and the transfer function of BT.709


class MovieWriter:
    """Writes frames to an .mp4 file (H.264, which browsers can play) or a .gif file with at most 480 pixels per side.

    Use the writer as a context manager. The file is created only if the block ends without an error. Raises DataError if the
    suffix is unknown, PyAV is required but missing, no frame was written, or writing fails.
    """

    def __init__(self, path: str | os.PathLike, fps: float | int):
        """`fps` is in frames per second. The duration of a GIF frame is rounded to 0.01 s, and is at least 0.02 s."""
        self.path = local_path(path)
        self.fps = fps
        if self.path.suffix.lower() not in _ENCODERS:
            raise DataError(f"{path}: the suffix {self.path.suffix!r} is unknown. Choose .mp4 or .gif")
        if not 0 < fps <= 1000:
            raise DataError(f"{path}: the movie has {fps:g} frames per second, expected a rate above 0 and at most 1000")
        self._size: tuple[int, ...] | None = None

    def __enter__(self) -> "MovieWriter":
        with writing_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._temporary = part_path(self.path)
            self._encoder = _ENCODERS[self.path.suffix.lower()](self._temporary, self.fps)
        return self

    def write(self, frame: UInt8[np.ndarray, "h w 3"]) -> None:
        """Appends a frame. All frames must have the same size."""
        if self._size is not None and frame.shape != self._size:
            sizes = f"{frame.shape[1]}x{frame.shape[0]} pixels, but the first frame has {self._size[1]}x{self._size[0]}"
            raise DataError(f"{self.path}: a frame has {sizes}. All frames of a movie must have the same size")
        self._size = frame.shape
        with writing_errors(self.path):
            self._encoder.write(np.ascontiguousarray(frame))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if kind is not None:
                return
            if self._size is None:
                raise DataError(f"{self.path}: the movie has no frames, expected at least one")
            with writing_errors(self.path):
                self._encoder.finish()
                os.replace(self._temporary, self.path)
        finally:
            self._encoder.stop()
            discard(self._temporary)


class _Encoder(Protocol):
    def write(self, frame: np.ndarray) -> None: ...
    def finish(self) -> None: ...
    def stop(self) -> None: ...


class _Mp4:
    """Writes H.264 with PyAV."""

    def __init__(self, path: Path, fps: float | int):
        self.path = path
        self.rate = max(Fraction(fps).limit_denominator(_LARGEST_DENOMINATOR), Fraction(1, _LARGEST_DENOMINATOR))
        self.av = import_av()
        self.container: av.container.OutputContainer | None = None

    def write(self, frame: np.ndarray) -> None:
        height, width, _ = frame.shape
        frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")  # chroma subsampling needs even sizes
        with self._encoding_errors():
            if self.container is None:
                self.container = self._start(*frame.shape[:2])
            self.graph.push(self.av.VideoFrame.from_ndarray(frame, format="rgb24"))
            picture = self.graph.pull()
            picture.pts, picture.time_base = self.count, 1 / self.rate
            self.count += 1
            self.container.mux(self.stream.encode(picture))

    def finish(self) -> None:
        with self._encoding_errors():
            assert self.container is not None  # a movie has at least one frame
            self.container.mux(self.stream.encode(None))
            self.container.close()

    def stop(self) -> None:
        if self.container is not None:
            with contextlib.suppress(self.av.FFmpegError):  # an incomplete movie cannot always be closed
                self.container.close()

    def _start(self, height: int, width: int) -> "av.container.OutputContainer":
        # The index is written at the start of the file, so that browsers can start playing the movie immediately.
        path = str(self.path.absolute())
        self.container = container = self.av.open(path, "w", format="mp4", container_options={"movflags": "+faststart"})
        self.stream = container.add_stream("libx264", rate=self.rate, options={"crf": "20"})
        codec = self.stream.codec_context
        codec.width, codec.height, codec.pix_fmt = width, height, "yuv420p"
        # Frames are converted to BT.709, and the file declares this standard. Otherwise, players might assume a different
        # standard, and the colours would change.
        codec.colorspace = codec.color_primaries = codec.color_trc = _BT709
        codec.time_base = 1 / self.rate
        self.graph = filter_graph(width, height, "rgb24", ["scale=out_color_matrix=bt709", "format=yuv420p"])
        self.count = 0
        return container

    @contextlib.contextmanager
    def _encoding_errors(self) -> Iterator[None]:
        try:
            yield
        except self.av.FFmpegError as error:  # some of FFmpeg's errors are not OSErrors
            raise OSError(error.errno, reason(error)) from error


class _Gif:
    """Writes a GIF with Pillow.

    The scaled-down frames are stored on disk, so that one palette can be computed from frames of the whole movie.
    """

    def __init__(self, path: Path, fps: float | int):
        self.path = path
        self.duration = 10 * max(2, round(100 / fps))  # in milliseconds; viewers play frames shorter than 20 ms too slowly
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
        palette = colours.quantize(256, method=Image.Quantize.FASTOCTREE)  # median cut would lose the colours of small objects
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


_ENCODERS: dict[str, Callable[[Path, float | int], _Encoder]] = {".mp4": _Mp4, ".gif": _Gif}
