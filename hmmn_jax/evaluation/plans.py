"""Determines the scored frames and objects of a video from its annotations, before the segmentation starts."""

import abc
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import Integer

from hmmn_jax.errors import DataError
from hmmn_jax.evaluation.clips import MOST, Clip
from hmmn_jax.io.files import contents
from hmmn_jax.io.images import VOID, read_ids, read_mask_size, require_fit, settle_ids
from hmmn_jax.io.notes import Notes
from hmmn_jax.metrics.davis import (
    ScoredFrame,
    SequenceScores,
    score_annotated,
    score_frames,
    scored_frames,
    scored_ids,
)

MOST_IDS = 32  # maximum number of values in a prediction of one object; more values are an error unless mask_values is set
OWN_RULE = (
    "The scores are not comparable to DAVIS scores. Every object is scored on the annotated frames after its first mask. "
    "The last frame of the video is also scored if it is annotated."
)


Kind = TypeVar("Kind", bound="Plan")


class Plan(abc.ABC):
    """The scored frames and objects of a video, and the scoring rule.

    Attributes:
        clip: the video.
        frames: the indices of the frames that are scored.
        single_object: whether all ids belong to one object.
    """

    clip: Clip
    frames: tuple[int, ...]
    single_object: bool

    @abc.abstractmethod
    def read_truth(self, index: int, height: int, width: int) -> np.ndarray:
        """Reads the annotation of a frame in the form that `score` expects. Raises DataError for an invalid annotation."""

    @abc.abstractmethod
    def read_prediction(self, folder: Path, index: int) -> np.ndarray:
        """Reads the masks of a frame from a folder, in the form that `score` expects. Raises DataError for an invalid mask."""

    @abc.abstractmethod
    def files(self, folder: Path, index: int) -> list[Path]:
        """Returns the files that `read_prediction` reads."""

    @abc.abstractmethod
    def score(self, frames: Iterable[ScoredFrame]) -> SequenceScores:
        """Scores a stream of frames."""

    def score_folder(self, folder: Path) -> SequenceScores:
        """Scores masks on disk. Raises DataError if a mask is missing, cannot be read or cannot be scored."""
        files = [path for t in self.frames for path in self.files(folder, t)]
        if missing := [path for path in files if not path.is_file()]:
            count = f"{len(missing)} of {len(files)} masks are missing"
            found = contents(missing[0].parent)
            raise DataError(f"{missing[0]}: the file does not exist. {count}. {found}. Name the masks SEQUENCE/FRAME.png.")
        return self.score(self._read(folder, t) for t in self.frames)

    def _read(self, folder: Path, t: int) -> ScoredFrame:
        height, width = self.clip.size
        source, pred = self.files(folder, t)[0], self.read_prediction(folder, t)
        if (size := pred.shape[-2:]) != (height, width):
            raise DataError(
                f"{source}: the mask has {size[1]}x{size[0]} pixels, but its frame has {width}x{height}. "
                "Write masks with the size of their frames."
            )
        return t, self.clip.frame_name(t), pred, self.read_truth(t, height, width), str(source)


@dataclass(frozen=True)
class _PlanOfIds(Plan):
    """A plan for masks `SEQUENCE/FRAME.png` that contain ids. For `mask_values`, see `read_ids`."""

    clip: Clip
    frames: tuple[int, ...]
    single_object: bool
    mask_values: str

    def files(self, folder: Path, index: int) -> list[Path]:
        """Returns the only mask file of the frame."""
        return [folder / self.clip.name / f"{self.clip.frame_name(index)}.png"]

    def _read_ids(self, path: Path, objects: int) -> Integer[np.ndarray, "h w"]:
        """Reads ids. Rejects grey levels if only a single object is scored."""
        single = self.single_object or objects == 1
        pred = read_ids(path, values=self.mask_values, check_levels=single, most=MOST)
        if single and not self.mask_values and (values := len(np.unique(pred))) > MOST_IDS:
            way_out = "Write ids. Otherwise, set mask_values=threshold for grey levels, or mask_values=ids for many ids."
            found = f"the mask has {values} values, although only one object is scored. The mask may contain probabilities"
            raise DataError(f"{path}: {found}. {way_out}")
        return pred.astype(np.uint16) if self.clip.wide else pred


@dataclass(frozen=True)
class BenchmarkPlan(Plan):
    """A plan for masks `SEQUENCE/FRAME.png` whose values are all ids, including 255. Each benchmark implements `score`."""

    clip: Clip
    frames: tuple[int, ...]
    single_object = False

    def files(self, folder: Path, index: int) -> list[Path]:
        """Returns the only mask file of the frame."""
        return [folder / self.clip.name / f"{self.clip.frame_name(index)}.png"]

    def read_truth(self, index: int, height: int, width: int) -> Integer[np.ndarray, "h w"]:
        """Reads the annotation of a frame without changing its values.

        Raises DataError for a wrong size, because the official evaluators also reject wrong sizes.
        """
        path = self.clip.annotation(index)
        ids = read_ids(path, values="ids", most=MOST)
        if ids.shape != (height, width):
            raise DataError(
                f"{path}: the annotation has {ids.shape[1]}x{ids.shape[0]} pixels, but its frame has {width}x{height}. "
                "Copy the annotation again."
            )
        return ids

    def read_prediction(self, folder: Path, index: int) -> Integer[np.ndarray, "h w"]:
        """Reads the mask of a frame without changing its values."""
        return read_ids(self.files(folder, index)[0], values="ids", most=MOST)


@dataclass(frozen=True)
class DavisPlan(_PlanOfIds):
    """A plan with the scoring rule of DAVIS. `objects` is the largest id in the first annotation."""

    objects: int

    def read_truth(self, index: int, height: int, width: int) -> Integer[np.ndarray, "h w"]:
        """Reads the annotation of a frame. The value 255 is not replaced, because `score_frames` interprets this value."""
        return self.clip.read_truth(index, height, width)

    def read_prediction(self, folder: Path, index: int) -> Integer[np.ndarray, "h w"]:
        """Reads the predicted mask of a frame. The value 255 is not replaced."""
        (path,) = self.files(folder, index)
        pred = self._read_ids(path, self.objects)
        if not self.single_object and set(np.unique(pred).tolist()) - {0} == {VOID}:
            raise DataError(f"{path}: the only id is 255, which this benchmark treats as void. Use the ids of the given masks.")
        return pred

    def score(self, frames: Iterable[ScoredFrame]) -> SequenceScores:
        """Scores the ids from 1 to the largest id in the first annotation, including ids that do not occur in it."""
        first = self.clip.read_annotation(0)
        return score_frames(first, frames, self.single_object, self.clip.name)


@dataclass(frozen=True)
class AnnotatedPlan(_PlanOfIds):
    """A plan that scores each object on the annotated frames after its first mask.

    Attributes:
        first: the index of the first annotated frame that contains each object, by id.
        others: ids of objects that first appear on the last annotated frame, and therefore cannot be scored.
        binary: whether the annotations store their only object as 255.
    """

    first: dict[int, int]
    others: tuple[int, ...] = ()
    binary: bool = False

    def read_truth(self, index: int, height: int, width: int) -> Integer[np.ndarray, "h w"]:
        """Reads the annotation of a frame. The value 255 is an object only if the annotations contain no other id."""
        ids = self.clip.read_truth(index, height, width)
        if self.binary:
            return (ids > 0).astype(np.uint8)
        ids = settle_ids(ids, False)
        return (ids > 0).astype(np.uint8) if self.single_object else ids

    def read_prediction(self, folder: Path, index: int) -> Integer[np.ndarray, "h w"]:
        """Reads the mask of a frame. If only object 1 is scored, 255 is treated as object 1 in masks without other ids."""
        (path,) = self.files(folder, index)
        pred = self._read_ids(path, len(self.first) + len(self.others))
        one = self.single_object or (set(self.first) == {1} and set(np.unique(pred).tolist()) <= {0, VOID})
        return (pred > 0).astype(np.uint8) if one else pred

    def score(self, frames: Iterable[ScoredFrame]) -> SequenceScores:
        """Scores each object on the annotated frames after its first mask."""
        return score_annotated(frames, self.first, self.clip.name, self.others)


def require_annotations(clip: Clip) -> None:
    """Raises DataError unless every frame is annotated."""
    if missing := [t for t in range(len(clip)) if t not in clip.annotations]:
        count = f"{len(missing)} of {len(clip)} frames have no annotation"
        raise DataError(f"{clip.name}: frame {clip.frame_name(missing[0])} is not annotated. {count}.")


def inner_annotations(clip: Clip) -> tuple[int, ...]:
    """Returns the indices of the annotated frames except the first and the last. Raises DataError if no frame is left."""
    annotated = sorted(clip.annotations)
    return tuple(annotated[t] for t in scored_frames(len(annotated), f"{clip.name}, annotated frames only"))


def plan_davis(clip: Clip, single_object: bool, mask_values: str, notes: Notes) -> DavisPlan:
    """Returns a plan that scores all frames except the first and the last.

    Raises DataError if a frame is not annotated, or if nothing can be scored.
    """
    scored = scored_frames(len(clip), clip.name)
    require_annotations(clip)
    first = scored_ids(clip.read_annotation(0), single_object)
    ids = [int(i) for i in np.unique(first) if i]
    if not ids:
        raise DataError(f"{clip.name}: the first annotation has no object. 255 is treated as void unless single_object is set.")
    if absent := max(ids) - len(ids):
        kind = "ids missing from the first annotation"
        for _ in range(absent):
            notes.add(
                "the official rule overestimates the score, because it scores a missing id as 1.0 if no mask contains the id",
                kind,
                clip.name,
            )
    return _checked(DavisPlan(clip, tuple(scored), single_object, mask_values, max(ids)))


def plan_annotated(clip: Clip, single_object: bool, mask_values: str, notes: Notes) -> AnnotatedPlan:
    """Returns a plan that scores each object on the annotated frames after its first mask.

    Raises DataError if nothing can be scored.
    """
    if clip.unreadable:
        raise DataError(clip.unreadable[0])
    held = clip.values
    one, other = ([t for t, values in held.items() if values - {0} == {value}] for value in (1, VOID))
    if (
        one
        and other
        and not clip.wide
        and set().union(*held.values()) <= {0, 1, VOID}
        and not any({1, VOID} <= values for values in held.values())
    ):
        names = clip.frame_name(one[0]), clip.frame_name(other[0])
        raise DataError(f"{clip.name}: the object has the id 1 on frame {names[0]} and 255 on frame {names[1]}. Use one id.")
    if not held:
        raise DataError(f"{clip.name}: the video has no annotations")
    binary = clip.binary
    first: dict[int, int] = {}
    for t, found in held.items():
        objects = found - {0} - (set() if binary else clip.void)
        for i in sorted({1} if objects and (binary or single_object) else objects):
            first.setdefault(i, t)
    last = max(held)
    counted = {i: t for i, t in first.items() if t < last}
    if not first:
        raise DataError(f"{clip.name}: the annotations contain no object")
    if not counted:
        raise DataError(
            f"{clip.name}: the objects first appear in frame {clip.frame_name(last)}, and no later frame is annotated"
        )
    others = tuple(sorted(first.keys() - counted.keys()))
    for i in others:
        notes.add("some objects are not scored", "objects without a later annotated frame", f"object {i} of {clip.name}")
    start = min(counted.values())
    wanted = (t for t in held if clip.requested is None or clip.frame_name(t) in clip.requested)
    frames = tuple(t for t in wanted if t > start)
    if not frames:
        raise DataError(f"{clip.name}: no required frame is annotated after the first frame that contains an object")
    if (unannotated := len(clip) - 1 - start - len(frames)) > 0:
        notes.add("some frames are not scored", "videos with unannotated frames", f"{clip.name}, {unannotated} frames")
    return _checked(AnnotatedPlan(clip, frames, single_object, mask_values, counted, others, binary))


def _checked(plan: Kind) -> Kind:
    """Returns the plan unchanged. Raises DataError if an annotation differs in size from the frames."""
    clip = plan.clip
    for t in plan.frames:
        require_fit(read_mask_size(clip.annotation(t)), *clip.size, clip.annotation(t), clip.turned)
    return plan
