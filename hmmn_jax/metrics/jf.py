"""J (region similarity) and F (boundary accuracy) of the masks of one frame, as the official DAVIS toolkit computes them.

J is intersection over union. F is the harmonic mean of precision and recall of the boundary. A boundary pixel is a match if the
other boundary is within 0.8 % of the image's diagonal (Perazzi et al., CVPR 2016).

Masks are packed, so that an operation on one word treats 64 pixels: `uint64 [..., words, h]`, where pixel x is bit x % 64,
counted from the lowest, of word x // 64, and bits beyond the width are 0. Rows come last, so that both a shift by rows and
the carry of bits to the next word are slices along whole runs of memory.
"""

import math
from collections.abc import Iterable

import numpy as np
from jaxtyping import Bool, Float64, Integer, UInt64

TOLERANCE = 0.008  # of the diagonal


def jaccard(pred: Bool[np.ndarray, "h w"], truth: Bool[np.ndarray, "h w"]) -> float:
    """Gives J of one object, in [0, 1]; 1 where both masks are empty."""
    return float(frame_scores(pred.astype(np.uint8), truth.astype(np.uint8), 1)[0][0])


def boundary_f(pred: Bool[np.ndarray, "h w"], truth: Bool[np.ndarray, "h w"]) -> float:
    """Gives F of one object, in [0, 1]; 1 if neither mask has a boundary, 0 if only one has."""
    return float(frame_scores(pred.astype(np.uint8), truth.astype(np.uint8), 1)[1][0])


def boundary_radius(height: int, width: int) -> int:
    """Gives the distance in pixels within which boundaries match: 8 at 480x854."""
    return math.ceil(TOLERANCE * math.sqrt(height * height + width * width))


def frame_scores(
    pred: Integer[np.ndarray, "h w"], truth: Integer[np.ndarray, "h w"], objects: int
) -> tuple[Float64[np.ndarray, " objects"], Float64[np.ndarray, " objects"]]:
    """Gives J and F of every object, ids 1 to `objects`; greater ids are background."""
    height, width = truth.shape
    radius = boundary_radius(height, width)
    j, f = np.empty(objects), np.empty(objects)
    for k, masks in enumerate(_pack_objects(np.stack([pred, truth]), objects)):
        masks = _crop(masks)
        j[k] = _jaccard(masks)
        f[k] = _boundary_f(_boundaries(masks, width), radius)
    return j, f


def _pack_objects(ids: Integer[np.ndarray, "n h w"], objects: int) -> Iterable[UInt64[np.ndarray, "n words h"]]:
    """Gives the masks of ids 1 to `objects` in turn.

    The binary digits of all ids are packed once, and every object is a combination of those few planes.
    """
    n, height, width = ids.shape
    padded = np.zeros((n, height, -(-width // 64) * 64), ids.dtype)
    np.multiply(ids, ids <= objects, out=padded[..., :width])
    planes = []
    for digit in range(objects.bit_length()):
        plane = padded & (1 << digit)
        bytes_ = np.packbits(plane if ids.dtype == np.uint8 else plane != 0, bitorder="little").reshape(n, height, -1)
        planes.append(np.ascontiguousarray(bytes_.view("<u8").swapaxes(1, 2)))
    for k in range(1, objects + 1):
        mask = planes[k.bit_length() - 1].copy()  # its highest digit; with it the padding stays 0
        for digit, plane in enumerate(planes):
            mask &= plane if k >> digit & 1 else ~plane
        yield mask


def _crop(masks: UInt64[np.ndarray, "n words h"]) -> UInt64[np.ndarray, "n words1 h1"]:
    """Cuts off the words and rows that no mask needs, so that cost follows the size of the objects.

    A margin of one word or row is kept if it exists, because results beyond it depend on the edge of the frame.
    """
    words = np.flatnonzero(np.bitwise_or.reduce(masks, axis=(0, 2)))
    rows = np.flatnonzero(np.bitwise_or.reduce(masks, axis=(0, 1)))
    if not words.size:
        return masks[:, :1, :1]
    return masks[:, max(words[0] - 1, 0) : words[-1] + 2, max(rows[0] - 1, 0) : rows[-1] + 2].copy()


def _jaccard(masks: UInt64[np.ndarray, "2 words h"]) -> float:
    union = _count(masks[0] | masks[1])
    return _count(masks[0] & masks[1]) / union if union else 1.0


def _boundary_f(boundaries: UInt64[np.ndarray, "2 words h"], radius: int) -> float:
    pred, truth = boundaries
    if not (pred.any() and truth.any()):
        return float(pred.any() == truth.any())
    near_pred, near_truth = _dilate(boundaries, radius)
    precision = _count(pred & near_truth) / _count(pred)
    recall = _count(truth & near_pred) / _count(truth)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _boundaries(masks: UInt64[np.ndarray, "n words h"], width: int) -> UInt64[np.ndarray, "n words h"]:
    """Marks pixels that differ from the one to the right, below, or diagonally below; pixels outside equal the edge."""
    right = masks >> 1
    right[:, :-1] |= masks[:, 1:] << 63
    right[:, -1] |= masks[:, -1] & np.uint64(1 << (width - 1) % 64)
    found = masks ^ right
    found[..., :-1] |= (masks[..., :-1] ^ masks[..., 1:]) | (masks[..., :-1] ^ right[..., 1:])
    return found


def _dilate(masks: UInt64[np.ndarray, "n words h"], radius: int) -> UInt64[np.ndarray, "n words h"]:
    """Marks pixels at most `radius` from a marked one: a disk, as one run of pixels for each of its rows.

    Works on flat arrays, with zeros between columns of words and between masks: a move by rows or words is a single slice.
    """
    n, words, height = masks.shape
    padded = np.zeros((n, words + radius // 64 + 1, height + radius), np.uint64)
    padded[:, :words, :height] = masks
    runs, reach = padded.ravel(), 0  # each marked pixel becomes a run that extends `reach` to both sides
    near = np.zeros_like(runs)
    for dy in range(radius, 0, -1):
        runs, reach = _widen(runs, reach, math.isqrt(radius * radius - dy * dy), height + radius)
        near[dy:] |= runs[:-dy]
        near[:-dy] |= runs[dy:]
    near |= _widen(runs, reach, radius, height + radius)[0]
    return near.reshape(padded.shape)[:, :words, :height]


def _widen(runs: UInt64[np.ndarray, " m"], reach: int, target: int, word: int) -> tuple[UInt64[np.ndarray, " m"], int]:
    """Widens runs from `reach` to `target` columns to both sides; the next word to the right is `word` places on."""
    while reach < target:
        # A greater step would leave gaps in runs that the edge of the frame cuts off, or skip a word.
        step = min(target - reach, reach + 1, 63)
        wide = runs << step
        wide |= runs >> step
        wide |= runs
        wide[word:] |= runs[:-word] >> (64 - step)
        wide[:-word] |= runs[word:] << (64 - step)
        runs, reach = wide, reach + step
    return runs, reach


def _count(mask: UInt64[np.ndarray, "words h"]) -> int:
    return int(np.bitwise_count(mask).sum(dtype=np.int64))
