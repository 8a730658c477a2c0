"""VOST metrics: J over all scored frames, and J_tr over the last quarter of the scored frames. F is not computed."""

import math
from collections.abc import Iterable

import numpy as np
from jaxtyping import Float64, Integer

from hmmn_jax.metrics.davis import (
    ScoredFrame,
    SequenceScores,
    Statistics,
    over_time,
    require_same_shape,
    scored_frames,
    scored_ids,
    statistics,
)
from hmmn_jax.metrics.figures import Figures
from hmmn_jax.metrics.jf import frame_overlaps

COLUMNS = ("J mean", "J recall", "J decay", "J_tr mean", "J_tr recall", "J_tr decay")


def score_sequence(
    pred: Integer[np.ndarray, "t1 h1 w1"], truth: Integer[np.ndarray, "t h w"], name: str = "sequence"
) -> SequenceScores:
    """Scores the predicted masks of a sequence on its annotated frames, except the first and the last.

    Args:
        pred: predicted ids, `[t,h,w]`. Ids above the largest id in `truth[0]` are ignored.
        truth: annotated ids, `[t,h,w]`. The objects have the ids 1 to the largest id in `truth[0]`, if any. Pixels with
            the id 255 are background, so an object predicted on these pixels is a false positive.
        name: name of the sequence.

    Raises:
        DataError: the arrays have different shapes, or there are fewer than three frames.
    """
    require_same_shape(pred, truth, name)
    frames = ((t, f"{t:05d}", pred[t], truth[t], f"{name}, frame {t}") for t in scored_frames(len(truth), name))
    return score_frames(truth[0], frames, name)


def score_frames(first: Integer[np.ndarray, "h w"], frames: Iterable[ScoredFrame], name: str) -> SequenceScores:
    """Scores a stream of frames; `first` is the annotation of the first frame. F is NaN, because VOST uses only J."""
    objects = int(scored_ids(first, False).max(initial=0))
    names, indices, j = [], [], []
    for index, frame_name, pred, truth, _ in frames:
        names.append(frame_name)
        indices.append(index)
        j.append(frame_overlaps(pred, scored_ids(truth, False), objects))
    values = over_time(j, objects)
    return SequenceScores(
        name, tuple(names), values, np.full_like(values, math.nan), tuple(range(1, objects + 1)), tuple(indices)
    )


def transformed(values: Float64[np.ndarray, " t"]) -> Float64[np.ndarray, " t1"]:
    """Returns the values on the last quarter of the scored frames. J_tr is their mean."""
    return values[math.floor(0.75 * len(values)) :]


def object_figures(scores: SequenceScores) -> Float64[np.ndarray, "o 6"]:
    """Returns six values for each object: the mean, recall and decay of J and of J_tr."""
    parts = [(statistics(j), statistics(transformed(j))) for j in scores.j]
    return np.array([[*_row(whole), *_row(end)] for whole, end in parts], float).reshape(len(scores.j), 6)


def total(scores: Iterable[SequenceScores]) -> dict[str, float]:
    """Returns the metrics of the benchmark, in [0, 1], averaged over all objects."""
    figures = np.concatenate([object_figures(video) for video in scores])
    means = figures.mean(axis=0) if len(figures) else np.full(6, math.nan)
    return dict(zip(COLUMNS, means.tolist(), strict=True))


FIGURES = Figures(total, total)


def _row(values: Statistics) -> tuple[float, float, float]:
    return values.mean, values.recall, values.decay
