"""What a benchmark makes of scores: the figures that it reports, by name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

FiguresOf = Callable[[Sequence[Any]], dict[str, float]]  # of the scores of some videos; NaN where there is nothing to average


@dataclass(frozen=True)
class Figures:
    """The figures of a benchmark that reports others than DAVIS.

    Attributes:
        total: of all videos, with the names and the scale of the official tool.
        part: of some videos or a single object, for tables.
        unit: of all figures: "percent", or "" for figures in [0, 1].
    """

    total: FiguresOf
    part: FiguresOf
    unit: str = ""
