"""Films decoded by PyAV, which holds FFmpeg: frames from the start or from a key frame on, and their conversion to RGB."""

import contextlib
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8

from hmmn_jax.errors import DataError, HMMNError
from hmmn_jax.io.files import reason

if TYPE_CHECKING:
    import av


class FilmDecoder:
    """The video stream of one file, decoded once from the start, or from a key frame after each `seek`.

    Attributes:
        fps: mean frames per second, 0 if unknown.
        frame_count: about how many frames there are, by duration and rate; 0 if unknown.
    """

    def __init__(self, path: Path):
        """Opens the file and reads its header. Raises PyAV's errors; DataError where the file has no video stream."""
        av = import_av()
        self._errors = av.FFmpegError
        name = str(path.absolute())  # an absolute path, which FFmpeg cannot take for a protocol such as "pipe:1.mp4"
        try:
            self._container = av.open(name)
        except UnicodeDecodeError:  # a title that is not UTF-8, in PyAV 18
            self._container = av.open(name, metadata_errors="replace")
        self._stream = self._container.streams.best("video")
        if self._stream is None:
            self.close()
            raise DataError(f"{path}: no video stream in it; give a file with pictures")
        # With several threads, the replacement of damaged parts would depend on their number, and sometimes on timing.
        self._stream.codec_context.thread_count = 1
        self.fps = float(self._stream.average_rate or self._stream.guessed_rate or 0)
        duration = self._container.duration or 0
        if "matroska" in self._container.format.name:  # which counts it from zero, not from the first frame
            duration -= self._container.start_time or 0
        self.frame_count = round(duration / av.time_base * self.fps)

    def frames(self) -> Iterator["av.VideoFrame"]:
        """Decodes from where the file was opened or sought to. As ffmpeg does, passes over packets that cannot be decoded."""
        for packet in self._packets():
            with contextlib.suppress(self._errors):
                yield from self._stream.decode(packet)

    def _packets(self) -> Iterator["av.Packet | None"]:
        # A file that was cut off ends with an error.
        with contextlib.suppress(self._errors):
            # An empty packet would tell the decoder that no more come: PyAV ends with one, and AVI has some for dropped frames.
            yield from (packet for packet in self._container.demux(self._stream) if packet.size)
        yield None  # now no more come, and the decoder gives the frames that it holds

    def seek(self, stamp: int) -> bool:
        """Seeks to the key frame at the timestamp or near it; accuracy depends on the format.

        Returns whether this succeeded.
        """
        try:
            self._container.seek(stamp, stream=self._stream)
        except self._errors:
            return False
        return True

    def close(self) -> None:
        """Closes the file."""
        self._container.close()


class RgbConverter:
    """Decoded frames to RGB by the filters, and so with the colours and the orientation, of the program ffmpeg."""

    def __init__(self, orientation: list[str]):
        """`orientation` has the filters that turn frames upright, see `upright_filters`."""
        self._orientation = orientation
        self._kind: tuple[int, int, str] | None = None

    def __call__(self, frame: "av.VideoFrame") -> UInt8[np.ndarray, "h w 3"]:
        """Converts a frame of any size to a new array."""
        kind = frame.width, frame.height, frame.format.name
        if kind != self._kind:
            self._graph = filter_graph(*kind, [*self._orientation, "scale=flags=bicubic", "format=rgb24"])
            self._kind = kind
        self._graph.push(frame)
        return np.array(self._graph.pull().to_ndarray())  # a copy, as RGB frames may share the decoder's memory


def upright_filters(frame: "av.VideoFrame") -> list[str]:
    """The filters that turn a frame upright as its display matrix says, by quarter turns and flips; others are ignored."""
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return []
    # A point (x, y) as stored is shown at (a x + c y, b x + d y).
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    if abs(a) >= abs(b):
        return ["hflip"] * (a < 0) + ["vflip"] * (d < 0)
    if b > 0:
        return ["transpose=cclock_flip" if c > 0 else "transpose=clock"]
    return ["transpose=clock_flip" if c < 0 else "transpose=cclock"]


@contextlib.contextmanager
def decoding_errors(path: Path) -> Iterator[None]:
    """Turns any error of a damaged film into a DataError."""
    try:
        yield
    except HMMNError:
        raise
    except Exception as error:  # a header that cannot be parsed raises any kind
        empty = path.is_file() and os.path.getsize(path) == 0
        found = "an empty file" if empty else f"no video that can be decoded ({reason(error)})"
        raise DataError(f"{path}: {found}; copy it again, or convert it, for instance to H.264 in .mp4") from error


def import_av() -> ModuleType:
    """Imports PyAV, which includes FFmpeg. Raises DataError if it is not installed."""
    try:
        import av
        import av.filter
    except ImportError as error:
        raise DataError(f"videos need PyAV: pip install hmmn-jax[video] ({reason(error)})") from error
    return av


def filter_graph(width: int, height: int, pixel_format: str, filters: list[str]) -> "av.filter.Graph":
    """Makes a chain of FFmpeg's filters, such as "scale=flags=bicubic", to `push` frames into and `pull` them from."""
    graph = import_av().filter.Graph()
    time_base = Fraction(1, 1000)  # any: no filter used here looks at the time
    nodes = [graph.add_buffer(width=width, height=height, format=pixel_format, time_base=time_base)]
    for name, _, arguments in (text.partition("=") for text in filters):
        nodes.append(graph.add(name, arguments or None))
    graph.link_nodes(*nodes, graph.add("buffersink")).configure()
    return graph
