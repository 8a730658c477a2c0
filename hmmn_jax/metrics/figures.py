"""Defines `Figures`, the metrics that a benchmark computes from scores."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

FiguresOf = Callable[
    [Sequence[Any]], dict[str, float]
]  # maps the scores of several videos to metrics by name; a metric is NaN if there are no values to average


@dataclass(frozen=True)
class Figures:
    """The metrics of a benchmark that does not use the metrics of DAVIS.

    Attributes:
        total: computes the metrics over all videos, with the names and the scale of the official tool.
        part: computes the metrics of a subset of the videos or of a single object, for tables.
        unit: the unit of all metrics: "percent", or "" for values in [0, 1].
    """

    total: FiguresOf
    part: FiguresOf
    unit: str = ""
