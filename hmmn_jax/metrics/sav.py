"""Computes SA-V scores: J and F of objects that may overlap. Each object is scored on its own annotated frames."""

import math
from collections.abc import Iterable, Mapping

import numpy as np
from jaxtyping import Bool, Float64, Integer

from hmmn_jax.errors import DataError
from hmmn_jax.metrics.davis import ScoredFrame, SequenceScores, over_time, require_same_shape, scored_frames
from hmmn_jax.metrics.figures import Figures
from hmmn_jax.metrics.jf import mask_scores

COLUMNS = ("J&F", "J", "F")  # in percent


def score_object(
    pred: Bool[np.ndarray, "t1 h1 w1"], truth: Bool[np.ndarray, "t h w"], name: str = "object"
) -> tuple[Float64[np.ndarray, " t2"], Float64[np.ndarray, " t2"]]:
    """Returns J and F of one object on its annotated frames except the first and the last.

    J and F are NaN on frames before the object first appears in the annotation or in the prediction.

    Raises:
        DataError: the shapes differ, there are fewer than three frames, or no scored annotation shows the object.
    """
    require_same_shape(pred, truth, name)
    scored = scored_frames(len(truth), name)
    frames = ((t, f"{t:05d}", pred[[t]], truth[[t]], f"{name}, frame {t}") for t in scored)
    scores = score_frames(frames, {1: frozenset(scored)}, name)
    return scores.j[0], scores.f[0]


def score_ids(
    pred: Integer[np.ndarray, "t1 h1 w1"], truth: Integer[np.ndarray, "t h w"], name: str = "sequence"
) -> SequenceScores:
    """Scores masks whose pixel values are object ids, by the same rules as `score_object`.

    The objects are the ids in the scored annotations. The first and the last annotation are not scored. 255 is a
    normal id. Ids that no scored annotation contains are ignored.

    Raises DataError if the shapes differ or there are fewer than three frames.
    """
    require_same_shape(pred, truth, name)
    scored = scored_frames(len(truth), name)
    ids = np.setdiff1d(truth[1:-1], 0)
    pairs = ((t, pred[t] == ids[:, None, None], truth[t] == ids[:, None, None]) for t in scored)
    frames = ((t, f"{t:05d}", *pair, f"{name}, frame {t}") for t, *pair in pairs)
    return score_frames(frames, dict.fromkeys(ids.tolist(), frozenset(scored)), name)


def score_frames(frames: Iterable[ScoredFrame], scored: Mapping[int, frozenset[int]], name: str) -> SequenceScores:
    """Scores a stream of frames.

    Args:
        frames: the frames in order, with predictions and annotations as bool `[objects,h,w]`.
        scored: the indices of the scored frames of each object, by id.
        name: name of the video.

    Raises:
        DataError: one of the objects is not shown in any of its scored annotations.
    """
    started, shown = dict.fromkeys(scored, False), dict.fromkeys(scored, False)
    names, indices, j, f = [], [], [], []
    for index, frame_name, pred, truth, _ in frames:
        values = np.full((len(scored), 2), np.nan)
        for row, (i, own) in enumerate(scored.items()):
            if index in own:
                shown[i] |= bool(truth[row].any())
                started[i] |= shown[i] or bool(pred[row].any())
                if started[i]:
                    values[row] = mask_scores(pred[row], truth[row])
        names.append(frame_name)
        indices.append(index)
        j.append(values[:, 0])
        f.append(values[:, 1])
    if hidden := [i for i, there in shown.items() if not there]:
        raise DataError(f"{name}: no scored annotation shows the object {hidden[0]}. Remove the masks of this object")
    tables = over_time(j, len(scored)), over_time(f, len(scored))
    return SequenceScores(name, tuple(names), *tables, tuple(scored), tuple(indices))


def object_figures(scores: SequenceScores) -> Float64[np.ndarray, "o 2"]:
    """Returns J and F of each object, in percent, averaged over the scored frames."""
    return 100 * np.stack([np.nanmean(scores.j, axis=1), np.nanmean(scores.f, axis=1)], axis=1)


def total(scores: Iterable[SequenceScores]) -> dict[str, float]:
    """Returns the metrics of the benchmark, in percent, averaged over all objects."""
    figures = np.concatenate([np.empty((0, 2)), *(object_figures(video) for video in scores)])
    j, f = figures.mean(axis=0).tolist() if len(figures) else (math.nan, math.nan)
    return dict(zip(COLUMNS, ((j + f) / 2, j, f), strict=True))


FIGURES = Figures(total, total, "percent")
