"""Layouts of masks on disk: a PNG of ids for each frame or, if objects may overlap, a folder of PNGs for each object."""

import abc
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Integer, Shaped

from hmmn_jax.errors import DataError
from hmmn_jax.evaluation.clips import MOST
from hmmn_jax.io.images import read_ids, write_mask

Mask = Shaped[np.ndarray, "..."]  # ids `[h,w]`; if objects may overlap, bool `[k,h,w]`


@dataclass(frozen=True)
class MaskFile:
    """A mask file: its path in the folder of masks, and the values for the name pattern of a submission."""

    name: str
    fields: Mapping[str, str]


class MaskFiles(abc.ABC):
    """Interface for naming, writing and reading the masks of a frame.

    Attributes:
        overlapping: whether objects may overlap. If True, each object is segmented independently of the other objects.
    """

    overlapping: bool

    @abc.abstractmethod
    def of_frame(self, sequence: str, frame: str, ids: Iterable[int]) -> list[MaskFile]:
        """Returns the mask files of a frame that contains the objects `ids`."""

    @abc.abstractmethod
    def write(self, folder: Path, sequence: str, frame: str, mask: Mask, ids: Integer[np.ndarray, " o1"]) -> None:
        """Writes the masks of a frame. `ids` contains 0 for the background, then the id of each object.

        Raises DataError if a file cannot be written.
        """

    @abc.abstractmethod
    def read(self, folder: Path, sequence: str, frame: str) -> Integer[np.ndarray, "h w"]:
        """Reads the masks of a frame as ids, for pictures.

        If objects overlap, the largest id is shown. Raises DataError if a mask is missing or cannot be read.
        """

    @abc.abstractmethod
    def frames(self, folder: Path, sequence: str) -> set[str]:
        """Returns the names of the frames that have masks."""


class OnePng(MaskFiles):
    """One indexed PNG of ids for each frame, `SEQUENCE/FRAME.png`."""

    overlapping = False

    def of_frame(self, sequence: str, frame: str, ids: Iterable[int]) -> list[MaskFile]:
        """Returns one file for all objects."""
        return [MaskFile(f"{sequence}/{frame}.png", {"sequence": sequence, "frame": frame})]

    def write(self, folder: Path, sequence: str, frame: str, mask: Mask, ids: Integer[np.ndarray, " o1"]) -> None:
        """Writes the ids. The PNG has 16 bits per pixel if an id is above 255."""
        write_mask(folder / sequence / f"{frame}.png", mask if ids.max() > 255 else mask.astype(np.uint8, copy=False))

    def read(self, folder: Path, sequence: str, frame: str) -> Integer[np.ndarray, "h w"]:
        """Reads the ids."""
        return read_ids(folder / sequence / f"{frame}.png", most=MOST)

    def frames(self, folder: Path, sequence: str) -> set[str]:
        """Returns the file names without suffixes."""
        return {path.stem for path in (folder / sequence).glob("*.png")}


@dataclass(frozen=True)
class FolderPerObject(MaskFiles):
    """One PNG for each object and frame, `SEQUENCE/OBJECT/FRAME.png`, with 255 for pixels of the object.

    Attributes:
        first: the folder number of id 1. Folder names have three digits. If `first` is 0, the folder of id 1 is 000.
    """

    first: int = 1
    overlapping = True

    def folder_of(self, object_id: int) -> str:
        """Returns the name of an object's folder."""
        return f"{object_id - 1 + self.first:03d}"

    def of_frame(self, sequence: str, frame: str, ids: Iterable[int]) -> list[MaskFile]:
        """Returns one file for each object."""
        names = [self.folder_of(i) for i in ids if i]
        return [
            MaskFile(f"{sequence}/{name}/{frame}.png", {"sequence": sequence, "object": name, "frame": frame}) for name in names
        ]

    def write(self, folder: Path, sequence: str, frame: str, mask: Mask, ids: Integer[np.ndarray, " o1"]) -> None:
        """Writes one file for each object."""
        for i, one in zip(ids[1:].tolist(), mask, strict=True):
            write_mask(folder / sequence / self.folder_of(i) / f"{frame}.png", np.where(one, np.uint8(255), np.uint8(0)))

    def read(self, folder: Path, sequence: str, frame: str) -> Integer[np.ndarray, "h w"]:
        """Reads the masks of all objects. Objects with larger ids cover objects with smaller ids."""
        paths = {int(path.parent.name) + 1 - self.first: path for path in (folder / sequence).glob(f"*/{frame}.png")}
        if not paths:
            raise DataError(f"{folder / sequence}: the folder contains no mask OBJECT/{frame}.png")
        masks = {i: read_ids(path) > 0 for i, path in sorted(paths.items())}
        return flatten(masks, next(iter(masks.values())).shape)

    def frames(self, folder: Path, sequence: str) -> set[str]:
        """Returns the file names of all objects, without suffixes."""
        return {path.stem for path in (folder / sequence).glob("*/*.png")}


def flatten(masks: Mapping[int, Bool[np.ndarray, "h w"]], size: tuple[int, int]) -> Integer[np.ndarray, "h w"]:
    """Converts masks that may overlap to ids. Later masks cover earlier masks."""
    ids = np.zeros(size, np.uint8 if max(masks, default=0) < 256 else np.uint16)
    for i, mask in masks.items():
        ids[mask] = i
    return ids
