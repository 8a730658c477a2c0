"""Computes LVOS metrics: J, F and the variability V for seen and unseen classes. Each object has its own range of frames."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Integer

from hmmn_jax.errors import DataError
from hmmn_jax.metrics.davis import ScoredFrame, SequenceScores, over_time
from hmmn_jax.metrics.figures import Figures
from hmmn_jax.metrics.jf import frame_scores, number_ids

COLUMNS = ("J&F", "J", "J_seen", "J_unseen", "F", "F_seen", "F_unseen", "V", "V_seen", "V_unseen")
STEP = 5  # distance between the numbers of annotated frames


@dataclass(frozen=True)
class FrameRange:
    """The frames of an object, as listed by the benchmark.

    Attributes:
        start: the number of the first frame, whose mask is given.
        end: the exclusive end of the frame numbers.
        frame_nums: the number of frames of the object, including the first and the last frame.
    """

    start: int
    end: int
    frame_nums: int

    def __post_init__(self) -> None:
        frames = len(range(self.start, self.end, STEP))
        if self.frame_nums < 2 or frames > self.frame_nums:
            found = f"frame_nums is {self.frame_nums} for the {frames} frames from {self.start} to {self.end}"
            raise DataError(f"{found}. frame_nums must be at least 2, and at least the number of frames")

    @property
    def slots(self) -> int:
        """The number of values that are averaged. Missing frames have the value 0."""
        return self.frame_nums - 2

    @property
    def scored(self) -> list[int]:
        """The numbers of the scored frames."""
        return list(range(self.start, self.end, STEP)[1 : self.frame_nums - 1])


@dataclass(frozen=True, kw_only=True)
class LvosScores(SequenceScores):
    """Scores of an LVOS video.

    Attributes:
        slots: number of values that are averaged for each object. The values of missing frames are 0.
        unseen: whether the video shows a class that is not in the training videos.
    """

    slots: Integer[np.ndarray, " o"]
    unseen: bool


def score_video(
    pred: Mapping[str, Integer[np.ndarray, "h w"]],
    truth: Mapping[str, Integer[np.ndarray, "h w"]],
    ranges: Mapping[int, FrameRange],
    unseen: bool,
    name: str,
) -> LvosScores:
    """Scores the predicted masks of a video by the rules of LVOS.

    Args:
        pred: predicted ids by frame name. Frame names are eight-digit numbers.
        truth: annotated ids by frame name.
        ranges: the frames of each object, by id. 255 is a normal id. Ids without a range are ignored.
        unseen: whether the video shows an unseen class.
        name: name of the video, for errors.

    Raises:
        DataError: a mask is missing or has the wrong size.
    """
    wanted = sorted({t for object_range in ranges.values() for t in object_range.scored})
    frames = []
    for t in wanted:
        frame = f"{t:08d}"
        if frame not in truth or frame not in pred:
            raise DataError(f"{name}, frame {frame}: the {'annotation' if frame not in truth else 'mask'} is missing. Add it")
        if pred[frame].shape != truth[frame].shape:
            found = f"the mask has the shape {pred[frame].shape}, but the annotation has the shape {truth[frame].shape}"
            raise DataError(f"{name}, frame {frame}: {found}")
        frames.append((t, frame, pred[frame], truth[frame], f"{name}, frame {frame}"))
    return score_frames(frames, ranges, unseen, name)


def score_frames(frames: Iterable[ScoredFrame], ranges: Mapping[int, FrameRange], unseen: bool, name: str) -> LvosScores:
    """Scores a stream of frames that are named by their numbers; see `score_video`."""
    ids = tuple(ranges)
    scored = [frozenset(object_range.scored) for object_range in ranges.values()]
    names, indices, j, f = [], [], [], []
    for index, frame_name, pred, truth, _ in frames:
        counts = [int(frame_name) in own for own in scored]
        frame_j, frame_f = frame_scores(number_ids(pred, ids), number_ids(truth, ids), len(ids))
        names.append(frame_name)
        indices.append(index)
        j.append(np.where(counts, frame_j, np.nan))
        f.append(np.where(counts, frame_f, np.nan))
    slots = np.array([object_range.slots for object_range in ranges.values()], int)
    table = over_time(j, len(ids)), over_time(f, len(ids))
    return LvosScores(name, tuple(names), *table, ids, tuple(indices), slots=slots, unseen=unseen)


def slot_values(values: Float64[np.ndarray, " t"], slots: int) -> Float64[np.ndarray, " slots"]:
    """Returns the values that are averaged for an object: the value of each scored frame, and 0 for each missing frame."""
    values = values[~np.isnan(values)]
    return np.concatenate([values, np.zeros(slots - len(values))])


def variability(j: Float64[np.ndarray, " slots"], f: Float64[np.ndarray, " slots"]) -> float:
    """Returns V of an object: the standard deviation of J&F over time. The variance is rounded to four decimals."""
    both = (j + f) / 2
    return float(np.sqrt(np.round(np.mean((both - both.mean()) ** 2), 4))) if len(both) else math.nan


def object_figures(scores: LvosScores) -> Float64[np.ndarray, "o 3"]:
    """Returns J, F and V of each object; NaN for objects without scored frames."""
    figures = []
    for j, f, slots in zip(scores.j, scores.f, scores.slots.tolist(), strict=True):
        j, f = slot_values(j, slots), slot_values(f, slots)
        figures.append([j.mean(), f.mean(), variability(j, f)] if slots else [math.nan] * 3)
    return np.array(figures, float).reshape(len(scores.ids), 3)


def group_total(scores: Iterable[LvosScores]) -> dict[str, float]:
    """Returns J&F, J, F and V of a group of videos, in [0, 1], averaged over objects; NaN if there are no objects."""
    figures = np.concatenate([np.empty((0, 3)), *(object_figures(video) for video in scores)])
    j, f, v = figures.mean(axis=0).tolist() if len(figures) else [math.nan] * 3
    return {"J&F": (j + f) / 2, "J": j, "F": f, "V": v}


def total(scores: Iterable[LvosScores]) -> dict[str, float]:
    """Returns the metrics of the benchmark, in [0, 1]: means over seen classes, means over unseen classes, and their averages.

    If a group has no objects, the means over the group and the averages over both groups are NaN.
    """
    videos = list(scores)
    seen, unseen = (group_total(video for video in videos if video.unseen == unseen) for unseen in (False, True))
    (_, j, f, v), (_, j1, f1, v1) = seen.values(), unseen.values()
    values = (j + f + j1 + f1) / 4, (j + j1) / 2, j, j1, (f + f1) / 2, f, f1, (v + v1) / 2, v, v1
    return {column: float(value) for column, value in zip(COLUMNS, values, strict=True)}


FIGURES = Figures(total, group_total)
