"""Distinguishes masks with ids from masks with grey levels.

Grey levels result from smooth edges or lossy compression.
"""

import numpy as np
from jaxtyping import Bool, Int, UInt8

_SHORT = 3  # maximum length, in pixels, of a run that can be a step of an edge; longer runs are plateaus
_DOT = 1  # an extreme value with at most this many pixels does not form plateaus
_PIECES = 3  # a scattered value has at least this many connected components
# A scattered value has fewer than `_SMALL_PIECE` pixels per connected component. Its steps may be up to `_SHORT` pixels long.
_SMALL_PIECE = 16
_TINY_PIECE = 8  # a value with fewer pixels per connected component, and at least `_PIECES` components, is noise


def looks_like_levels(values: UInt8[np.ndarray, "h w"]) -> bool:
    """Returns whether a mask seems to contain grey levels instead of ids.

    This is the case if at least half of the values between the smallest and the largest value are steps of smooth edges or are
    noise. Each value is tested separately, so that a large object does not hide the edge of another object. A value is a step
    if most of its pixels are in smooth edges. A value is noise if it has many small connected components, or if most of its
    pixels are isolated. An isolated pixel differs from all four neighbours, and the four neighbours are not all equal.
    """
    present = np.bincount(values.ravel(), minlength=256)
    between = np.flatnonzero(present)[1:-1]
    if not len(between):
        return False
    extremes = [value for value in np.flatnonzero(present)[[0, -1]].tolist() if present[value] > _DOT]
    rows, columns = _Runs(values), _Runs(np.ascontiguousarray(values.T))
    single, short = (
        np.bincount(values[rows.steps(longest, extremes) | columns.steps(longest, extremes).T], minlength=256)[between]
        for longest in (1, _SHORT)
    )
    lonely = np.bincount(values[_lonely(values)], minlength=256)[between]
    count, pieces = present[between], rows.count_pieces()[between]
    scattered = (pieces >= _PIECES) & (count < _SMALL_PIECE * pieces)
    steps = (2 * single > count) | (scattered & (2 * short > count))
    noise = (pieces >= _PIECES) & (count < _TINY_PIECE * pieces) | (2 * lonely > count) & (count > 1)
    return bool(2 * np.count_nonzero(steps | noise) >= len(between))


class _Runs:
    """The runs of equal values in the rows of an image."""

    def __init__(self, values: UInt8[np.ndarray, "h w"]):
        self.values = values
        starts = np.ones(values.shape, bool)
        np.not_equal(values[:, 1:], values[:, :-1], out=starts[:, 1:])
        self.starts = np.flatnonzero(starts)
        self.lengths = np.diff(self.starts, append=values.size)
        self.run_values = values.ravel()[self.starts]

    def steps(self, longest: int, extremes: list[int]) -> Bool[np.ndarray, "h w"]:
        """Returns a mask of the runs that have at most `longest` pixels and are steps of an edge.

        An edge is a sequence of short runs between two different plateaus. The values of an edge's steps are between the values
        of the two plateaus. A plateau is a long run, or a run of one of the extreme values. Runs at the border of the image are
        neither steps nor plateaus.
        """
        first = self.starts % self.values.shape[1] == 0
        at_border = first | np.append(first[1:], True)
        plateau = (self.lengths > _SHORT) | np.isin(self.run_values, extremes)
        bounds = plateau | at_border
        index = np.arange(len(bounds))
        before = np.maximum.accumulate(np.where(bounds, index, 0))
        after = np.minimum.accumulate(np.where(bounds, index, len(bounds) - 1)[::-1])[::-1]
        low, high = (choose(self.run_values[before], self.run_values[after]) for choose in (np.minimum, np.maximum))
        step = ~bounds & plateau[before] & plateau[after] & (low < self.run_values) & (self.run_values < high)
        return np.repeat(step & (self.lengths <= longest), self.lengths).reshape(self.values.shape)

    def count_pieces(self) -> Int[np.ndarray, "256"]:
        """Estimates the number of connected components of each value.

        A run belongs to a new component if it does not touch the same value in the row above.
        """
        padded = np.pad(self.values[:-1].astype(np.int16), ((1, 0), (1, 1)), constant_values=-1)
        width = self.values.shape[1]
        continues = np.zeros(self.values.shape, bool)
        for shift in range(3):
            continues |= padded[:, shift : shift + width] == self.values
        is_new = ~np.logical_or.reduceat(continues.ravel(), self.starts)
        return np.bincount(self.run_values[is_new], minlength=256)


def _lonely(values: UInt8[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Marks each pixel that differs from all four neighbours, if the four neighbours are not all equal."""
    padded = np.pad(values, 1, mode="edge")
    up, down, left, right = padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]
    alone = (up != values) & (down != values) & (left != values) & (right != values)
    return alone & ((up != down) | (left != right) | (up != left))
