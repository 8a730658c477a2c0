"""Evaluation on SA-V.

Objects may overlap and have separate mask folders. Videos have 24 frames per second, of which 6 are annotated.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Integer

from hmmn_jax.datasets.davis import read_list
from hmmn_jax.datasets.listing import list_frames
from hmmn_jax.errors import DataError
from hmmn_jax.evaluation.clips import MOST, Clip, files_of_objects
from hmmn_jax.evaluation.mask_files import FolderPerObject, flatten
from hmmn_jax.evaluation.plans import Plan
from hmmn_jax.evaluation.protocols.base import Opener, Protocol, register
from hmmn_jax.io.files import contents, shortlist
from hmmn_jax.io.image_video import ImageVideo
from hmmn_jax.io.images import read_ids
from hmmn_jax.io.notes import Notes
from hmmn_jax.metrics import sav
from hmmn_jax.metrics.davis import ScoredFrame, SequenceScores

FRAMES, ANNOTATIONS = "JPEGImages_24fps", "Annotations_6fps"
FOLDERS = FolderPerObject(first=0)


@dataclass(frozen=True)
class SavPlan(Plan):
    """Scores each object on its annotated frames except the first and the last. `scored` contains frame indices by id."""

    clip: Clip
    frames: tuple[int, ...]
    scored: dict[int, frozenset[int]]
    single_object = False

    def files(self, folder: Path, index: int) -> list[Path]:
        """Returns the mask path of each object that is scored on the given frame."""
        name = self.clip.frame_name(index)
        return [folder / file.name for file in FOLDERS.of_frame(self.clip.name, name, self._ids(index))]

    def read_prediction(self, folder: Path, index: int) -> Bool[np.ndarray, "o h w"]:
        """Reads the predicted masks of a frame. If an object is not scored on the frame, its mask is empty."""
        return self._stack(dict(zip(self._ids(index), self.files(folder, index), strict=True)))

    def read_truth(self, index: int, height: int, width: int) -> Bool[np.ndarray, "o h w"]:
        """Reads the annotated masks of a frame. If an object is not scored on the frame, its mask is empty."""
        files = files_of_objects(self.clip.annotations[index])
        return self._stack({i: files[i] for i in self._ids(index)})

    def score(self, frames: Iterable[ScoredFrame]) -> SequenceScores:
        """Scores each object, starting with the first frame on which its annotation or prediction is not empty."""
        return sav.score_frames(frames, self.scored, self.clip.name)

    def _ids(self, index: int) -> list[int]:
        return [i for i, own in self.scored.items() if index in own]

    def _stack(self, files: dict[int, Path]) -> Bool[np.ndarray, "o h w"]:
        height, width = self.clip.size
        masks = np.zeros((len(self.scored), height, width), bool)
        rows = {i: row for row, i in enumerate(self.scored)}
        for i, path in files.items():
            values = read_ids(path, values="ids", most=MOST)
            if values.shape != (height, width):
                raise DataError(
                    f"{path}: the mask has {values.shape[1]}x{values.shape[0]} pixels, but its frame has {width}x{height}"
                )
            if len(found := np.unique(values)) > 2:
                raise DataError(f"{path}: the mask has {len(found)} different values, expected only 0 and 255")
            masks[rows[i]] = values > 0
        return masks


@register("sav")
class Sav(Protocol):
    """Evaluates the videos that `sav_SPLIT.txt` lists.

    The first mask of each object is given. Folder 000 contains the masks of object 1.
    """

    mask_files = FOLDERS
    figures = sav.FIGURES
    rule = "Objects are numbered from 1. The masks of object 1 are in the folder 000."

    def find(self, root: Path, notes: Notes) -> dict[str, Opener]:
        """Finds the videos that `sav_SPLIT.txt` lists."""
        return {name: partial(self._open, root, name, notes) for name in read_list(root / f"sav_{self.settings.split}.txt")}

    def inputs(self, root: Path) -> tuple[Path, ...]:
        """Returns the folders `JPEGImages_24fps` and `Annotations_6fps`."""
        return root / FRAMES, root / ANNOTATIONS

    def plan(self, clip: Clip, notes: Notes) -> Plan:
        """Returns a plan that scores all objects. Raises DataError if an object has no frame to score."""
        scored = {i: frozenset(sorted(frames)[1:-1]) for i, frames in _frames_of_objects(clip).items()}
        if short := [i for i, frames in scored.items() if not frames]:
            raise DataError(
                f"{clip.name}/{FOLDERS.folder_of(short[0])}: fewer than three annotations exist, so the object cannot be scored"
            )
        return SavPlan(clip, tuple(sorted(frozenset().union(*scored.values()))), scored)

    def shown_truth(self, clip: Clip, index: int, height: int, width: int) -> Integer[np.ndarray, "h w"]:
        """Returns the annotation of a frame as an array of object ids, for display in pictures.

        Objects with larger ids cover objects with smaller ids.
        """
        files = files_of_objects(clip.annotations[index])
        return flatten({i: read_ids(path) > 0 for i, path in files.items()}, (height, width))

    def _open(self, root: Path, name: str, notes: Notes) -> Clip:
        frames = list_frames(root / FRAMES / name, order=self.settings.order, notes=notes)
        home, places = root / ANNOTATIONS / name, {path.stem: t for t, path in enumerate(frames)}
        annotations: dict[int, dict[int, Path]] = {}
        folders = sorted(path for path in home.glob("*") if path.is_dir() and not path.name.startswith("."))
        if not folders:
            raise DataError(f"{home}: expected a folder for each object, such as 000. {contents(home)}.")
        for folder in folders:
            if not folder.name.isdecimal() or FOLDERS.folder_of(int(folder.name) + 1) != folder.name:
                raise DataError(f"{folder}: expected a folder name of three digits, such as 000, found {folder.name!r}")
            masks = sorted(folder.glob("*.png"))
            if surplus := [path.name for path in masks if path.stem not in places]:
                raise DataError(f"{folder}: these masks have no frame in {root / FRAMES / name}: {shortlist(surplus)}")
            for path in masks:
                annotations.setdefault(places[path.stem], {})[int(folder.name) + 1] = path
        video = ImageVideo(frames, name)
        video.inspect(notes)
        clip = Clip(name, video, {}, frozenset(frames[t].stem for t in annotations), frames, dict(sorted(annotations.items())))
        given: dict[int, dict[int, Path]] = {}
        for i, own in _frames_of_objects(clip).items():
            given.setdefault(min(own), {})[i] = annotations[min(own)][i]
            if min(own):
                start = f"{name}/{FOLDERS.folder_of(i)}, frame {frames[min(own)].stem}"
                notes.add("objects without a mask in the first frame start at their first mask", "objects", start)
        masks_given = tuple(path for files in given.values() for path in files.values())
        return Clip(name, video, given, clip.requested, (*frames, *masks_given), clip.annotations)


def _frames_of_objects(clip: Clip) -> dict[int, set[int]]:
    """Returns the indices of each object's annotated frames, by id."""
    found: dict[int, set[int]] = {}
    for t, files in clip.annotations.items():
        for i in files_of_objects(files):
            found.setdefault(i, set()).add(t)
    return dict(sorted(found.items()))
