"""Stores masks as packed bits, and implements the operations of the metrics: counts, boundaries, and dilation by disks.

Masks are arrays `uint64 [..., words, h]`. Pixel x of a row is bit x % 64 of word x // 64, where bit 0 is the lowest bit. Bits
beyond the width are 0. An operation on one word processes 64 pixels. The rows are the last axis, so that a shift by rows or by
words is a slice of contiguous memory.
"""

import functools
from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Integer, UInt64


def pack_masks(masks: Bool[np.ndarray, "n h w"]) -> UInt64[np.ndarray, "n words h"]:
    """Packs the rows of masks into 64-bit words."""
    n, height, width = masks.shape
    padded = np.zeros((n, height, -(-width // 64) * 64), masks.dtype)
    padded[..., :width] = masks
    return _pack(padded)


def pack_objects(ids: Integer[np.ndarray, "n h w"], objects: int) -> Iterator[UInt64[np.ndarray, "n words h"]]:
    """Yields the mask of each id from 1 to `objects`. Larger ids are treated as background.

    The binary digits of all ids are packed once as bit planes. The mask of each object is a combination of bit planes.
    """
    n, height, width = ids.shape
    padded = np.zeros((n, height, -(-width // 64) * 64), ids.dtype)
    np.multiply(ids, ids <= objects, out=padded[..., :width])
    planes = []
    for digit in range(objects.bit_length()):
        plane = padded & (1 << digit)
        planes.append(_pack(plane if ids.dtype == np.uint8 else plane != 0))
    for k in range(1, objects + 1):
        mask = planes[k.bit_length() - 1].copy()  # the highest digit of k is 1, and its bit plane is 0 in the padding
        for digit, plane in enumerate(planes):
            mask &= plane if k >> digit & 1 else ~plane
        yield mask


def _pack(padded: np.ndarray) -> UInt64[np.ndarray, "n words h"]:
    bytes_ = np.packbits(padded, bitorder="little").reshape(*padded.shape[:2], -1)
    return np.ascontiguousarray(bytes_.view("<u8").swapaxes(1, 2))


def crop(masks: UInt64[np.ndarray, "n words h"]) -> UInt64[np.ndarray, "n words1 h1"]:
    """Removes outer words and rows that are empty in all masks, so that the cost depends on the size of the objects.

    A margin of one word or row is kept where possible, because boundaries depend on neighbouring pixels.
    """
    words = np.flatnonzero(np.bitwise_or.reduce(masks, axis=(0, 2)))
    rows = np.flatnonzero(np.bitwise_or.reduce(masks, axis=(0, 1)))
    if not words.size:
        return masks[:, :1, :1]
    return masks[:, max(words[0] - 1, 0) : words[-1] + 2, max(rows[0] - 1, 0) : rows[-1] + 2].copy()


def count(mask: UInt64[np.ndarray, "words h"]) -> int:
    """Counts the pixels of a mask."""
    return int(np.bitwise_count(mask).sum(dtype=np.int64))


def boundaries(masks: UInt64[np.ndarray, "n words h"], width: int) -> UInt64[np.ndarray, "n words h"]:
    """Marks pixels that differ from their right, lower or lower-right neighbour. Beyond the frame, edge pixels are repeated."""
    right = masks >> 1
    right[:, :-1] |= masks[:, 1:] << 63
    right[:, -1] |= masks[:, -1] & np.uint64(1 << (width - 1) % 64)
    found = masks ^ right
    found[..., :-1] |= (masks[..., :-1] ^ masks[..., 1:]) | (masks[..., :-1] ^ right[..., 1:])
    return found


def dilate(masks: UInt64[np.ndarray, "n words h"], radius: float | int) -> UInt64[np.ndarray, "n words h"]:
    """Dilates marked pixels by a disk. Each row of the disk is a run of pixels.

    The disk is created as in scikit-image and applied as in OpenCV. For fractional radii, the disk is asymmetric; see `_disk`.
    The computation uses flat arrays with zeros between columns of words and between masks, so that a shift by rows or words is
    a single slice.
    """
    disk = _disk(radius)
    n, words, height = masks.shape
    column = height + max(abs(down) for down, _, _ in disk)
    padded = np.zeros((n, words + max(right for _, _, right in disk) // 64 + 1, column), np.uint64)
    padded[:, :words, :height] = masks
    runs, reach = padded.ravel(), (0, 0)  # every marked pixel becomes a run that extends by `reach`
    near = np.zeros_like(runs)
    for down, left, right in disk:
        if left < 0:  # a single tap only shifts the runs
            row = _moved_right(runs, right, column)
        else:
            row, reach = runs, reach = _widen(runs, reach, (left, right), column)
        if down > 0:
            near[down:] |= row[:-down]
        elif down < 0:
            near[:down] |= row[-down:]
        else:
            near |= row
    return near.reshape(padded.shape)[:, :words, :height]


@functools.lru_cache(maxsize=256)
def _disk(radius: float | int) -> tuple[tuple[int, int, int], ...]:
    """Returns the rows of a disk, narrowest first, as tuples (offset downwards, extent to the left, extent to the right).

    The disk has n = ceil(2 radius + 1) taps per axis, at distances -radius, 1 - radius, ... Tap i reads the pixel at offset i -
    n // 2. For integer radii, the taps form an ordinary disk. For fractional radii, a row may have a single tap that is not in
    the centre column. For such a row, the extent to the left is -1. All values are in pixels.
    """
    distances = np.arange(-radius, radius + 1)
    inside = distances[:, None] ** 2 + distances**2 <= radius**2
    if not inside.any():  # for a radius below 0.586, OpenCV uses the first tap of the empty kernel
        inside[0, 0] = True
    middle, rows = len(distances) // 2, []
    for i in np.flatnonzero(inside.any(axis=1)).tolist():
        taps = np.flatnonzero(inside[i])
        rows.append((middle - i, int(taps[-1]) - middle, middle - int(taps[0])))
    return tuple(sorted(rows, key=lambda row: row[1] + row[2]))


def _widen(
    runs: UInt64[np.ndarray, " m"], reach: tuple[int, int], target: tuple[int, int], word: int
) -> tuple[UInt64[np.ndarray, " m"], tuple[int, int]]:
    """Extends each run from `reach` to `target`, which are numbers of columns to the left and right of the original pixel.

    The next word to the right is at offset `word`. Returns the extended runs and the new `reach`.
    """
    left, right = reach
    while left < target[0] or right < target[1]:
        # A larger step would leave gaps in runs at the edge of the frame, or skip a word.
        to_left, to_right = min(target[0] - left, left + 1, 63), min(target[1] - right, right + 1, 63)
        wide = runs.copy()
        if to_right:
            wide |= _moved_right(runs, to_right, word)
        if to_left:
            wide |= runs >> to_left
            wide[:-word] |= runs[word:] << (64 - to_left)
        runs, left, right = wide, left + to_left, right + to_right
    return runs, (left, right)


def _moved_right(runs: UInt64[np.ndarray, " m"], step: int, word: int) -> UInt64[np.ndarray, " m"]:
    moved = runs << step
    moved[word:] |= runs[:-word] >> (64 - step)
    return moved
