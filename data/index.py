"""The index of a built split lists videos, frames, sizes and objects, and fits in memory. Clips are sampled from the index."""

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
    """The index of a split with v videos and n frames. Each frame is one record, and the frames of a video are consecutive.

    The index also has m entries, one for each visible object in each annotated frame, sorted by record, then by id.

    Attributes:
        videos: str [v], the names of the videos.
        starts: int64 [v+1]; records starts[i]:starts[i+1] are the frames of video i.
        names: str [n], the file names of the frames without the suffix.
        numbers: int32 [n], the frame numbers in the original video. If all names in a video are increasing integers, these
            integers are the numbers. Otherwise, frames are numbered by position.
        sizes: int32 [n,2], height and width of the upright frames. A mask can be one pixel larger or smaller than its frame.
        annotated: bool [n], whether the frame has a mask. A mask may be empty.
        object_record: int32 [m], the record of the frame that contains the object.
        object_id: uint8 [m], the id of the object, which is at least 1. Ids may have gaps.
        object_area: int32 [m], the number of pixels of the object in the mask.
        binary: bool [v], whether the only object of the video is stored as 255 (as in DAVIS-2016).
        id_map: uint8 [256], maps values in the PNG to object ids; 0 is background or void. This map is not used for binary
            videos.
        soft: bool [], whether masks contain grey levels (colours are converted to brightness, not looked up in a palette).
        orientation: uint8 [n], EXIF orientation of the frames, from 1 to 8; masks match the upright frames. None: all
            orientations are 1. Data sets from earlier versions have no orientations; their masks match the stored pixels.
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
        """Returns the object id of each value in the PNG masks of a video, uint8 [256]; 0: no object."""
        return binary_table() if self.binary[video] else self.id_map

    def decode(self, video: int, mask: bytes) -> np.ndarray:
        """Decodes any PNG mask of a video to object ids, uint8 [h,w]. Raises DataError for an invalid mask.

        This method is slow. The training pipeline calls it only for masks that TensorFlow cannot decode; see `clips.decode`.
        """
        return self.table(video)[decode_mask(mask, f"a mask of {self.videos[video]}", soft=bool(self.soft))]

    def video_of(self, record: int) -> int:
        """Returns the index of the video that a record belongs to."""
        return int(np.searchsorted(self.starts, record, side="right")) - 1

    def objects(self, record: int) -> dict[int, int]:
        """Returns the objects that are visible in a frame, as a dict from id to number of pixels."""
        rows = slice(*np.searchsorted(self.object_record, [record, record + 1]))
        return dict(zip(self.object_id[rows].tolist(), self.object_area[rows].tolist(), strict=True))

    def save(self, path: str | os.PathLike) -> None:
        """Writes the index to a `.npz` file atomically. Raises DataError if writing fails."""
        arrays = {name: getattr(self, name) for name in _FIELDS}
        with atomic_path(path) as temporary:
            np.savez_compressed(temporary, **arrays)


_FIELDS = [field.name for field in dataclasses.fields(Index)]


def load(path: str | os.PathLike) -> Index:
    """Reads an index that `save` wrote. Raises DataError for any other file."""
    try:
        with bucket_errors(as_path(path)):
            content = as_path(path).read_bytes()
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return Index(**{name: arrays[name] for name in _FIELDS if name in arrays or name != "orientation"})
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is not a readable index: {reason(error)}. Build the data set again.") from error


def identity_map() -> np.ndarray:
    """Returns the id_map of DAVIS and YouTube-VOS, uint8 [256]: ids are unchanged, except that 255 is void."""
    return np.where(np.arange(256) == VOID, 0, np.arange(256)).astype(np.uint8)


def level_map() -> np.ndarray:
    """Returns the id_map of masks with grey levels: values of 128 and above form the only object."""
    return (np.arange(256) >= 128).astype(np.uint8)


def binary_table() -> np.ndarray:
    """Returns the object id of each mask value, uint8 [256], for masks that store their only object as 255."""
    return (np.arange(256) == VOID).astype(np.uint8)
