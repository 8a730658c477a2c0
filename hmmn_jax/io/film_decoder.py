"""Decodes video files to RGB with PyAV (which includes FFmpeg), sequentially or after seeking."""

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
    """Decodes the video stream of a file from the start or, after a call to `seek`, from a key frame.

    Attributes:
        fps: mean number of frames per second; 0 if unknown.
        frame_count: approximate number of frames, computed from the duration and the frame rate; 0 if unknown.
    """

    def __init__(self, path: Path):
        """Opens the file and reads its header. Raises PyAV's errors, and DataError if the file has no video stream."""
        av = import_av()
        self._errors = av.FFmpegError
        name = str(path.absolute())  # an absolute path, because FFmpeg would mistake a name such as "pipe:1.mp4" for a protocol
        try:
            self._container = av.open(name)
        except UnicodeDecodeError:  # raised by PyAV 18 for a title that is not UTF-8
            self._container = av.open(name, metadata_errors="replace")
        self._stream = self._container.streams.best("video")
        if self._stream is None:
            self.close()
            raise DataError(f"{path}: the file contains no video stream. Pass a video file")
        # With several threads, FFmpeg's error concealment would depend on the number of threads, and sometimes on timing.
        self._stream.codec_context.thread_count = 1
        self.fps = float(self._stream.average_rate or self._stream.guessed_rate or 0)
        duration = self._container.duration or 0
        if "matroska" in self._container.format.name:  # in Matroska, the duration includes the time before the first frame
            duration -= self._container.start_time or 0
        self.frame_count = round(duration / av.time_base * self.fps)

    def frames(self) -> Iterator["av.VideoFrame"]:
        """Yields the decoded frames from the start, or from the position of the last seek.

        Packets that cannot be decoded are skipped. The `ffmpeg` tool also skips these packets.
        """
        for packet in self._packets():
            with contextlib.suppress(self._errors):
                yield from self._stream.decode(packet)

    def _packets(self) -> Iterator["av.Packet | None"]:
        # PyAV raises an error at the end of a truncated file.
        with contextlib.suppress(self._errors):
            # Empty packets are skipped, because the decoder would treat them as the end of the stream. PyAV's last packet is
            # empty, and AVI files contain empty packets for dropped frames.
            yield from (packet for packet in self._container.demux(self._stream) if packet.size)
        yield None  # at the end of the stream, None makes the decoder return its remaining frames

    def seek(self, stamp: int) -> bool:
        """Seeks to a key frame at or near the timestamp `stamp`.

        The accuracy depends on the file format. Returns whether the seek succeeded.
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
    """Converts decoded frames to RGB with FFmpeg's filters, so that colours and orientation match ffmpeg's output."""

    def __init__(self, orientation: list[str]):
        """`orientation` contains the filters that rotate frames upright; see `upright_filters`."""
        self._orientation = orientation
        self._kind: tuple[int, int, str] | None = None

    def __call__(self, frame: "av.VideoFrame") -> UInt8[np.ndarray, "h w 3"]:
        """Returns a decoded frame of any size as a new RGB array."""
        kind = frame.width, frame.height, frame.format.name
        if kind != self._kind:
            self._graph = filter_graph(*kind, [*self._orientation, "scale=flags=bicubic", "format=rgb24"])
            self._kind = kind
        self._graph.push(frame)
        return np.array(self._graph.pull().to_ndarray())  # a copy, because RGB frames may share the decoder's memory


def upright_filters(frame: "av.VideoFrame") -> list[str]:
    """Returns the FFmpeg filters that rotate a frame upright according to its display matrix.

    Rotation angles are rounded to multiples of 90 degrees.
    """
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return []
    # The point (x, y) of the stored frame is displayed at (a x + c y, b x + d y).
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    if abs(a) >= abs(b):
        return ["hflip"] * (a < 0) + ["vflip"] * (d < 0)
    if b > 0:
        return ["transpose=cclock_flip" if c > 0 else "transpose=clock"]
    return ["transpose=clock_flip" if c < 0 else "transpose=cclock"]


@contextlib.contextmanager
def decoding_errors(path: Path) -> Iterator[None]:
    """Converts any error caused by a damaged video file to a DataError."""
    try:
        yield
    except HMMNError:
        raise
    except Exception as error:  # an invalid header can cause any exception
        empty = path.is_file() and os.path.getsize(path) == 0
        found = "the file is empty" if empty else f"the file cannot be decoded as a video ({reason(error)})"
        raise DataError(f"{path}: {found}. Copy the file again, or convert it, for instance to H.264 in .mp4") from error


def import_av() -> ModuleType:
    """Imports PyAV, which includes FFmpeg. Raises DataError if PyAV is not installed."""
    try:
        import av
        import av.filter
    except ImportError as error:
        raise DataError(f"videos require PyAV ({reason(error)}). Run pip install hmmn-jax[video]") from error
    return av


def filter_graph(width: int, height: int, pixel_format: str, filters: list[str]) -> "av.filter.Graph":
    """Creates a chain of FFmpeg filters, such as "scale=flags=bicubic". Use `push` and `pull` to filter frames."""
    graph = import_av().filter.Graph()
    time_base = Fraction(1, 1000)  # arbitrary, because no filter used here depends on time
    nodes = [graph.add_buffer(width=width, height=height, format=pixel_format, time_base=time_base)]
    for name, _, arguments in (text.partition("=") for text in filters):
        nodes.append(graph.add(name, arguments or None))
    graph.link_nodes(*nodes, graph.add("buffersink")).configure()
    return graph
