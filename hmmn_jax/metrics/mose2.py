"""MOSE v2 metrics: J, and F with an adaptive tolerance ("the adaptive F").

Both metrics are averaged over all scored frames, and separately over disappearances and reappearances. J is (I + 1) /
(U + 1), where I and U are the areas of the intersection and the union, in pixels. The tolerance of F is 0.8 % of the image
diagonal. This tolerance is rounded up to whole pixels for small objects. The adaptive F of these objects has a smaller
tolerance (Ding et al., MOSEv2, 2025). All listed objects have the same weight.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Integer

from hmmn_jax.errors import DataError
from hmmn_jax.metrics.bitmaps import boundaries, count
from hmmn_jax.metrics.davis import ScoredFrame, SequenceScores, over_time
from hmmn_jax.metrics.figures import Figures
from hmmn_jax.metrics.jf import TOLERANCE, f_within, number_ids, object_masks

COLUMNS = ("J&dotF", "J", "dotF", "J&dotF_d", "J&dotF_r", "F", "J&F")  # in percent; dotF is the adaptive F


@dataclass(frozen=True, kw_only=True)
class Mose2Scores(SequenceScores):
    """Scores of a MOSE v2 video.

    Attributes:
        adaptive_f: F with the adaptive tolerance.
        empty: whether the object is absent from the annotation.
    """

    adaptive_f: Float64[np.ndarray, "o t"]
    empty: Bool[np.ndarray, "o t"]


def score_video(
    pred: Mapping[str, Integer[np.ndarray, "h w"]],
    truth: Mapping[str, Integer[np.ndarray, "h w"]],
    ids: Sequence[int],
    name: str,
) -> Mose2Scores:
    """Scores a video by the rules of the benchmark's server.

    Args:
        pred: predicted ids by frame name, such as "00012". If `pred` is empty, the video is missing from
            the result, and all of its metrics are 0. If a frame is missing, the server scores the wrong frames; see
            `server_frames`.
        truth: annotated ids of every frame, by name.
        ids: ids of the objects. 255 is a normal id; ids that are not listed are ignored.
        name: name of the video, for errors.

    Raises:
        DataError: the server would reject the result, because masks are missing, or have a wrong name or size.
    """
    scored = server_frames(pred, len(truth), name) if pred else []
    for frame in scored:
        if frame not in truth or pred[frame].shape != truth[frame].shape:
            found = truth[frame].shape if frame in truth else "unknown because no annotation exists"
            shapes = f"the shape of the mask is {pred[frame].shape}, but the shape of the annotation is {found}"
            raise DataError(f"{name}, frame {frame}: {shapes}. Write a mask with the shape of the annotation")
    places = {frame: t for t, frame in enumerate(truth)}
    return score_frames(((places[t], t, pred[t], truth[t], f"{name}, frame {t}") for t in scored), ids, name)


def server_frames(names: Iterable[str], length: int, video: str) -> list[str]:
    """Returns the names of the frames that the server scores, given the names of the frames in a result.

    The server scores positions 1 to length - 2 of the sorted names. If a frame is missing, all later frames are shifted by one
    position. Raises DataError if there are too few names, or if a name is not a number.
    """
    if bad := [name for name in names if not name.isdecimal()]:
        raise DataError(f"{video}: a mask is named {bad[0]}.png. Mask names must be numbers, such as 00012.png")
    found = sorted(names, key=lambda name: (int(name), name))
    if length > 2 and len(found) < length - 1:
        raise DataError(f"{video}: the result contains {len(found)} masks for {length} frames. Write a mask for every frame")
    return found[1 : max(length - 1, 1)]


def score_frames(frames: Iterable[ScoredFrame], ids: Sequence[int], name: str) -> Mose2Scores:
    """Scores a stream of frames; see `score_video`. The metrics of videos without scored frames are 0."""
    names, indices, columns = [], [], []
    for index, frame_name, pred, truth, _ in frames:
        columns.append(frame_scores(number_ids(pred, ids), number_ids(truth, ids), len(ids)))
        names.append(frame_name)
        indices.append(index)
    by_kind = zip(*columns, strict=True) if columns else [()] * 4
    j, f, adaptive_f, empty = (over_time(values, len(ids)) for values in by_kind)
    return Mose2Scores(name, tuple(names), j, f, tuple(ids), tuple(indices), adaptive_f=adaptive_f, empty=empty.astype(bool))


def frame_scores(
    pred: Integer[np.ndarray, "h w"], truth: Integer[np.ndarray, "h w"], objects: int
) -> tuple[Float64[np.ndarray, " o"], Float64[np.ndarray, " o"], Float64[np.ndarray, " o"], Bool[np.ndarray, " o"]]:
    """Returns J, F, the adaptive F, and whether the annotation is empty, for every object (ids 1 to `objects`)."""
    height, width = truth.shape
    diagonal = TOLERANCE * math.sqrt(height * height + width * width)
    j, f, adaptive_f, empty = np.empty(objects), np.empty(objects), np.empty(objects), np.empty(objects, bool)
    for k, masks in enumerate(object_masks(pred, truth, objects)):
        j[k] = (count(masks[0] & masks[1]) + 1) / (count(masks[0] | masks[1]) + 1)
        area = count(masks[1])
        empty[k] = area == 0
        edges = boundaries(masks, width)
        own = math.ceil(0.1 * math.sqrt(area))
        if own < diagonal:
            f[k], adaptive_f[k] = f_within(edges, math.ceil(diagonal)), f_within(edges, own)
        else:
            f[k] = adaptive_f[k] = f_within(edges, diagonal)
    return j, f, adaptive_f, empty


def disappearances(empty: Bool[np.ndarray, " t"]) -> list[slice]:
    """Returns the runs of frames without the object, except a run that starts at the first scored frame."""
    return [run for run in runs(empty) if run.start > 0]


def reappearances(empty: Bool[np.ndarray, " t"]) -> list[slice]:
    """Returns the runs of frames with the object that follow a run without the object."""
    return [run for run in runs(~empty) if run.start > 0]


def object_figures(scores: Mose2Scores) -> Float64[np.ndarray, "o 7"]:
    """Returns seven means for each object.

    The first three columns are J, the adaptive F and F. The other columns are J and the adaptive F over disappearances, then
    over reappearances. The values are in [0, 1]. If an object never disappears, its means over disappearances are NaN. If an
    object never reappears, its means over reappearances are NaN. For a video without scored frames, J and both kinds of F
    are 0.
    """
    figures = []
    for j, f, adaptive_f, empty in zip(scores.j, scores.f, scores.adaptive_f, scores.empty, strict=True):
        gone, back = disappearances(empty), reappearances(empty)
        parts = [_mean_over(values, runs) for runs in (gone, back) for values in (j, adaptive_f)]
        figures.append([*(values.mean() if len(values) else 0.0 for values in (j, adaptive_f, f)), *parts])
    return np.array(figures, float).reshape(len(scores.ids), 7)


def total(scores: Iterable[Mose2Scores]) -> dict[str, float]:
    """Returns the metrics of the benchmark, in percent, averaged over all objects.

    Objects that never disappear are excluded from the means over disappearances. Objects that never reappear are excluded from
    the means over reappearances.
    """
    figures = [object_figures(video) for video in scores]
    j, adaptive_f, f, *parts = (_mean(column[~np.isnan(column)]) for column in np.concatenate(figures).T)
    gone, back = (parts[0] + parts[1]) / 2, (parts[2] + parts[3]) / 2
    values = ((j + adaptive_f) / 2, j, adaptive_f, gone, back, f, (j + f) / 2)
    return {column: 100 * value for column, value in zip(COLUMNS, values, strict=True)}


FIGURES = Figures(total, total, "percent")


def runs(flags: Bool[np.ndarray, " t"]) -> list[slice]:
    """Returns the maximal runs of true values."""
    steps = np.diff(flags.astype(np.int8), prepend=0, append=0)
    return [slice(int(a), int(b)) for a, b in zip(np.flatnonzero(steps == 1), np.flatnonzero(steps == -1), strict=True)]


def _mean_over(values: Float64[np.ndarray, " t"], runs: list[slice]) -> float:
    return _mean(np.array([values[run].mean() for run in runs], float))


def _mean(values: Float64[np.ndarray, " n"]) -> float:
    return float(values.mean()) if len(values) else math.nan
