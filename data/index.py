"""The index of a built split, for sampling: videos, frames, sizes and objects. It is small enough to stay in memory."""

import dataclasses
import io
import os
import zipfile
from dataclasses import dataclass

import numpy as np

from hmmn_jax.errors import DataError
from hmmn_jax.io.buckets import as_path
from hmmn_jax.io.files import atomic_path, bucket_errors, reason
from hmmn_jax.io.images import VOID, decode_mask


@dataclass(frozen=True)
class Index:
    """A split of v videos with n frames, one record per frame; the frames of a video are consecutive and in order.

    It lists m pairs of an annotated frame and an object that is visible in it, sorted by record, then by id.

    Attributes:
        videos: str [v], their names.
        starts: int64 [v+1]; records starts[i]:starts[i+1] are the frames of video i.
        names: str [n], the frames' file names without suffix.
        numbers: int32 [n], the frames' numbers in the original video: their names if all names of a video are integers, else
            their positions.
        sizes: int32 [n,2], height and width of the frames, upright. A mask can be one pixel larger or smaller.
        annotated: bool [n], whether the frame has a mask. A mask may be empty.
        object_record: int32 [m], record.
        object_id: uint8 [m], id of the object, from 1; ids may have gaps.
        object_area: int32 [m], its pixels in the mask.
        binary: bool [v], whether the one object of the video is written as 255 (as in DAVIS-2016).
        id_map: uint8 [256], object id by value in the PNG, 0 for background and void. Not used for binary videos.
        soft: bool [], whether masks are grey levels (colours are converted to their brightness, not looked up in a palette).
        orientation: uint8 [n], EXIF orientation of the frames, from 1 to 8; masks match the upright frames. None: all 1, as in
            data sets of earlier versions, whose masks match the stored pixels.
    """

    videos: np.ndarray
    starts: np.ndarray
    names: np.ndarray
    numbers: np.ndarray
    sizes: np.ndarray
    annotated: np.ndarray
    object_record: np.ndarray
    object_id: np.ndarray
    object_area: np.ndarray
    binary: np.ndarray
    id_map: np.ndarray
    soft: np.ndarray
    orientation: np.ndarray | None = None

    def __post_init__(self):
        if self.orientation is None:
            object.__setattr__(self, "orientation", np.ones(len(self.names), np.uint8))

    def table(self, video: int) -> np.ndarray:
        """Returns the object id of each value in the PNG masks of a video, uint8 [256]; 0: none."""
        return binary_table() if self.binary[video] else self.id_map

    def decode(self, video: int, mask: bytes) -> np.ndarray:
        """Decodes any PNG mask of a video to object ids, uint8 [h,w]. Slow; the reference implementation. Raises DataError."""
        return self.table(video)[decode_mask(mask, f"a mask of {self.videos[video]}", soft=bool(self.soft))]

    def video_of(self, record: int) -> int:
        """Finds the video that a record belongs to."""
        return int(np.searchsorted(self.starts, record, side="right")) - 1

    def objects(self, record: int) -> dict[int, int]:
        """Returns the objects that are visible in a frame: pixels by id."""
        rows = slice(*np.searchsorted(self.object_record, [record, record + 1]))
        return dict(zip(self.object_id[rows].tolist(), self.object_area[rows].tolist(), strict=True))

    def save(self, path: str | os.PathLike) -> None:
        """Writes the index as `.npz` atomically. Raises DataError."""
        arrays = {name: getattr(self, name) for name in _FIELDS}
        with atomic_path(path) as temporary:
            np.savez_compressed(temporary, **arrays)


_FIELDS = [field.name for field in dataclasses.fields(Index)]


def load(path: str | os.PathLike) -> Index:
    """Reads what `save` wrote. Raises DataError for any other file."""
    try:
        with bucket_errors(as_path(path)):
            content = as_path(path).read_bytes()
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return Index(**{name: arrays[name] for name in _FIELDS if name in arrays or name != "orientation"})
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not a readable index: {reason(error)}; build the data set again") from error


def identity_map() -> np.ndarray:
    """Returns the id_map of DAVIS and YouTube-VOS, uint8 [256]: ids unchanged, 255 is void."""
    return np.where(np.arange(256) == VOID, 0, np.arange(256)).astype(np.uint8)


def level_map() -> np.ndarray:
    """Returns the id_map of masks with grey levels: values of 128 and more are the only object."""
    return (np.arange(256) >= 128).astype(np.uint8)


def binary_table() -> np.ndarray:
    """Returns the table for masks that store their only object as 255."""
    return (np.arange(256) == VOID).astype(np.uint8)
