"""Checks numbers in configs, because a damaged file may contain any value."""

import math
from typing import Any

WIDEST, DEEPEST = 16384, 50  # maximum number of channels in a layer, and maximum number of blocks in a stage


def is_size(value: Any, most: int = WIDEST) -> bool:
    """Returns whether the value is an integer from 1 to `most`."""
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most


def is_finite(value: Any) -> bool:
    """Returns whether the value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
