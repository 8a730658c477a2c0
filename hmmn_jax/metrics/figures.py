"""The figures that a benchmark computes from scores, by name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

FiguresOf = Callable[[Sequence[Any]], dict[str, float]]  # of the scores of some videos; NaN if there is nothing to average


@dataclass(frozen=True)
class Figures:
    """The figures of a benchmark that differ from those of DAVIS.

    Attributes:
        total: figures over all videos, with the names and the scale of the official tool.
        part: figures of some videos or a single object, for tables.
        unit: unit of all figures: "percent", or "" for figures in [0, 1].
    """

    total: FiguresOf
    part: FiguresOf
    unit: str = ""
