"""Provides random access to the frames of a video file, based on an index that is recorded during a sequential decode."""

import bisect
import collections
import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import UInt8

from hmmn_jax.io.film_decoder import FilmDecoder, RgbConverter

if TYPE_CHECKING:
    import av

_FRAMES_KEPT = 8  # number of decoded frames that are cached, for reading backwards
# Number of seek positions to try. If the timestamps of packets and frames differ, the nearest position may be after the frame.
_KEY_FRAMES_TRIED = 2
_PATIENCE = 16  # a search stops after this many frames with later timestamps; no codec reorders frames by more positions


class _Record(NamedTuple):
    stamp: int | None
    checksum: int


class FilmIndex:
    """Frame timestamps and checksums from a sequential decode, used to identify the same frames in later decodes.

    To read a frame, the decoder starts at the preceding key frame. A frame is accepted only if its timestamp and checksum match
    the recorded timestamp and checksum. If no frame matches, the decoder starts at an earlier key frame, and finally at the
    start of the file. Open groups of pictures, edit lists, missing or repeated timestamps, and damaged data can slow down
    reading, but never cause a wrong frame to be returned.
    """

    def __init__(self, path: Path, orientation: list[str]):
        """Creates an empty index without opening the file. `orientation` is the argument of `RgbConverter`."""
        self._path, self._orientation, self._to_rgb = path, orientation, RgbConverter(orientation)
        self._records: list[_Record] = []
        self._key_frames: list[int] = []  # indices of the key frames with a timestamp (required for seeking)
        self._recent: collections.deque[av.VideoFrame] = collections.deque(maxlen=_FRAMES_KEPT)
        self._decoder: FilmDecoder | None = None
        self._coming: Iterator[av.VideoFrame] = iter(())
        self._next = math.inf  # index of the frame that the decoder returns next

    def __len__(self) -> int:
        """The number of recorded frames."""
        return len(self._records)

    def second_reader(self) -> "FilmIndex":
        """A copy with the same records and a separate decoder."""
        other = FilmIndex(self._path, self._orientation)
        other._records, other._key_frames = self._records, self._key_frames
        return other

    def record(self, frame: "av.VideoFrame", rgb: UInt8[np.ndarray, "h w 3"]) -> None:
        """Records the next frame of the sequential decode."""
        record = _Record(_stamp(frame), zlib.crc32(rgb.data))
        if frame.key_frame and record.stamp is not None:
            self._key_frames.append(len(self._records))
        self._records.append(record)

    def keep(self, frame: "av.VideoFrame") -> None:
        """Caches a frame from the sequential decode, because the frame may be read again soon."""
        self._recent.append(frame)

    def find(self, index: int) -> UInt8[np.ndarray, "h w 3"] | None:
        """Returns a recorded frame, or None if decoding the file again yields different frames. Raises PyAV's errors."""
        wanted = self._records[index]
        for frame in reversed(self._recent):
            if (rgb := self._match(frame, wanted)) is not None:
                return rgb
        for patience in self._starts(index):
            if (rgb := self._search(wanted, patience)) is not None:
                self._next = index + 1
                return rgb
        return None

    def close(self) -> None:
        """Closes the file and drops the cached frames, but not the records."""
        if self._decoder is not None:
            self._decoder.close()
        self._decoder, self._coming, self._next = None, iter(()), math.inf
        self._recent.clear()

    def _starts(self, index: int) -> Iterator[int | float]:
        """Seeks to positions at or before the frame, starting with the nearest position.

        For each position, yields the maximum number of frames with later timestamps that the search may decode.
        """
        before = bisect.bisect_right(self._key_frames, index)
        key_frames = self._key_frames[max(0, before - _KEY_FRAMES_TRIED) : before]
        if (key_frames[-1] if key_frames else 0) <= self._next <= index:
            yield _PATIENCE  # the decoder will reach the frame without seeking
        for key_frame in reversed(key_frames):
            if self._seek(key_frame):
                yield _PATIENCE
        self._reopen()
        yield math.inf  # later timestamps do not stop a search from the start of the file

    def _search(self, wanted: _Record, patience: int | float) -> UInt8[np.ndarray, "h w 3"] | None:
        late = 0
        for frame in self._coming:
            self._recent.append(frame)
            self._next += 1
            if (rgb := self._match(frame, wanted)) is not None:
                return rgb
            stamp = _stamp(frame)
            late += stamp is not None and wanted.stamp is not None and stamp > wanted.stamp
            if late > patience:
                break
        self._next = math.inf
        return None

    def _match(self, frame: "av.VideoFrame", wanted: _Record) -> UInt8[np.ndarray, "h w 3"] | None:
        if _stamp(frame) != wanted.stamp:
            return None
        rgb = self._to_rgb(frame)
        return rgb if zlib.crc32(rgb.data) == wanted.checksum else None

    def _seek(self, key_frame: int) -> bool:
        decoder, stamp = self._decoder or self._reopen(), self._records[key_frame].stamp
        assert stamp is not None  # only key frames with a timestamp are recorded
        found = decoder.seek(stamp)
        self._coming, self._next = decoder.frames(), key_frame
        return found

    def _reopen(self) -> FilmDecoder:
        if self._decoder is not None:
            self._decoder.close()
        self._decoder = FilmDecoder(self._path)
        self._coming, self._next = self._decoder.frames(), 0
        return self._decoder


def _stamp(frame: "av.VideoFrame") -> int | None:
    return frame.pts if frame.pts is not None else frame.dts
