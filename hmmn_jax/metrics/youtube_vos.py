"""YouTube-VOS scores: J and F for seen and for unseen categories, and the mean of these four values.

The code of the benchmark's server is not public. In this module, every object has the same weight within its group.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float64

from hmmn_jax.metrics.davis import SequenceScores, statistics
from hmmn_jax.metrics.figures import Figures

COLUMNS = ("overall", "J_seen", "J_unseen", "F_seen", "F_unseen", "J&F", "J", "F")


@dataclass(frozen=True, kw_only=True)
class YouTubeScores(SequenceScores):
    """Scores of a YouTube-VOS video.

    Attributes:
        unseen: for each object, 0 if its category is in the training data, 1 if it is not, NaN if the category is unknown.
    """

    unseen: Float64[np.ndarray, " o"]


def with_groups(scores: SequenceScores, unseen: Mapping[int, bool]) -> YouTubeScores:
    """Adds the group of each object, seen or unseen, to the scores of a video.

    The categories of ids that are not in `unseen` are unknown.
    """
    groups = np.array([float(unseen[i]) if i in unseen else math.nan for i in scores.ids], float)
    return YouTubeScores(**{field.name: getattr(scores, field.name) for field in fields(SequenceScores)}, unseen=groups)


def object_figures(scores: YouTubeScores) -> Float64[np.ndarray, "o 2"]:
    """Returns J and F of each object, in [0, 1], averaged over its scored frames."""
    rows = [(statistics(j).mean, statistics(f).mean) for j, f in zip(scores.j, scores.f, strict=True)]
    return np.array(rows, float).reshape(len(scores.ids), 2)


def part(scores: Iterable[YouTubeScores]) -> dict[str, float]:
    """Returns J&F, J and F over all objects in the given videos, in [0, 1]."""
    j, f = _mean(np.concatenate([np.empty((0, 2)), *map(object_figures, scores)]))
    return {"J&F": (j + f) / 2, "J": j, "F": f}


def total(scores: Iterable[YouTubeScores]) -> dict[str, float]:
    """Returns the metrics of the benchmark, in [0, 1], and J&F, J and F over all objects.

    The overall score is the mean of four values: J and F over seen categories, and J and F over unseen categories. If a group
    has no objects, the overall score is NaN.
    """
    videos = list(scores)
    figures = np.concatenate([np.empty((0, 2)), *map(object_figures, videos)])
    unseen = np.concatenate([np.empty(0), *(video.unseen for video in videos)])
    (j, f), (j1, f1) = _mean(figures[unseen == 0]), _mean(figures[unseen == 1])
    values = (j + j1 + f + f1) / 4, j, j1, f, f1, *part(videos).values()
    return dict(zip(COLUMNS, values, strict=True))


FIGURES = Figures(total, part)


def _mean(figures: Float64[np.ndarray, "o 2"]) -> tuple[float, float]:
    j, f = figures.mean(axis=0).tolist() if len(figures) else (math.nan, math.nan)
    return j, f
