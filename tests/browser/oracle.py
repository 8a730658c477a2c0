"""Computes the expected masks pixel by pixel, with exact fractions. The code is slow, and independent of the page's code."""

import itertools
import math
from collections import deque
from fractions import Fraction

import numpy as np


def disc_at(point, size):
    """Returns the top left pixel of the size * size square around a point, and the pixels (x, y) of the disc in the square."""
    left, top = (math.floor(Fraction(value) - Fraction(size, 2) + Fraction(1, 2)) for value in point)
    middle = Fraction(size, 2)
    inside = [
        (left + x, top + y)
        for x in range(size)
        for y in range(size)
        if (x + Fraction(1, 2) - middle) ** 2 + (y + Fraction(1, 2) - middle) ** 2 < middle**2
    ]
    return (left, top), inside


def between(start, stop):
    """Returns the pixels of the line between two pixels, by Bresenham's algorithm."""
    (x0, y0), (x1, y1) = start, stop
    dx, sx, dy, sy = abs(x1 - x0), (x1 > x0) - (x1 < x0), abs(y1 - y0), (y1 > y0) - (y1 < y0)
    error, found = dx - dy, [(x0, y0)]
    while (x0, y0) != (x1, y1):
        doubled = 2 * error
        if doubled >= -dy:
            error, x0 = error - dy, x0 + sx
        if doubled <= dx:
            error, y0 = error + dx, y0 + sy
        found.append((x0, y0))
    return found


def paint_stroke(mask, points, size, value, locked=()):
    """Returns the mask after a disc is painted along the line through the points."""
    mask = mask.copy()
    corners = [disc_at(point, size) for point in points]
    (first, shape) = corners[0]
    offsets = [(x - first[0], y - first[1]) for x, y in shape]
    path = [first]
    for (before, _), (after, _) in itertools.pairwise(corners):
        path += between(before, after)
    for left, top in path:
        for dx, dy in offsets:
            set_pixel(mask, left + dx, top + dy, value, locked)
    return mask


def set_pixel(mask, x, y, value, locked=()):
    """Sets a pixel to `value` if the pixel is inside the mask and its current id is not locked."""
    if 0 <= y < mask.shape[0] and 0 <= x < mask.shape[1] and mask[y, x] not in locked:
        mask[y, x] = value


def paint_polygon(mask, corners, value):
    """Returns the mask after a polygon is painted.

    A pixel is inside if a ray from its centre to the left crosses an odd number of edges.
    """
    mask = mask.copy()
    for y, x in np.ndindex(mask.shape):
        row, column, odd = y + Fraction(1, 2), x + Fraction(1, 2), False
        for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
            if (y0 < row) != (y1 < row):
                odd ^= x0 + (row - y0) * Fraction(x1 - x0, y1 - y0) <= column
        if odd:
            mask[y, x] = value
    return mask


def paint_fill(mask, frame, point, value, tolerance, locked=()):
    """Returns the mask after the connected region around a pixel is filled."""
    (x, y), out = point, mask.copy()
    if mask[y, x] in locked:
        return out
    queue, seen = deque([(y, x)]), {(y, x)}
    while queue:
        row, column = queue.popleft()
        out[row, column] = value
        for near in ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)):
            inside = 0 <= near[0] < mask.shape[0] and 0 <= near[1] < mask.shape[1]
            if not inside or near in seen or mask[near] != mask[y, x]:
                continue
            if np.abs(frame[near].astype(int) - frame[y, x].astype(int)).max() <= tolerance:
                seen.add(near)
                queue.append(near)
    return out
