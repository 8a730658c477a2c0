"""Computes J (region similarity) and F (boundary accuracy) of the masks of one frame, as in the official DAVIS toolkit.

J is the intersection over union. F is the harmonic mean of the precision and recall of boundary pixels. A boundary pixel is a
match if its distance from the other boundary is at most 0.8 % of the image diagonal, rounded up to whole pixels (Perazzi et
al., CVPR 2016).
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float64, Integer, UInt64

from hmmn_jax.metrics.bitmaps import boundaries, count, crop, dilate, pack_masks, pack_objects

TOLERANCE = 0.008  # fraction of the image diagonal


def jaccard(pred: Bool[np.ndarray, "h w"], truth: Bool[np.ndarray, "h w"]) -> float:
    """Returns J of one object, in [0, 1]; 1 if both masks are empty."""
    return mask_scores(pred, truth)[0]


def boundary_f(pred: Bool[np.ndarray, "h w"], truth: Bool[np.ndarray, "h w"]) -> float:
    """Returns F of one object, in [0, 1]: 1 if neither mask has a boundary, and 0 if only one mask has a boundary."""
    return mask_scores(pred, truth)[1]


def mask_scores(pred: Bool[np.ndarray, "h w"], truth: Bool[np.ndarray, "h w"]) -> tuple[float, float]:
    """Returns J and F of one object."""
    masks = crop(pack_masks(np.stack([pred, truth])))
    return _jaccard(masks), f_within(boundaries(masks, truth.shape[1]), boundary_radius(*truth.shape))


def boundary_radius(height: int, width: int) -> int:
    """Returns the distance in pixels within which boundaries match. For a frame of 480x854, the distance is 8 pixels."""
    return math.ceil(TOLERANCE * math.sqrt(height * height + width * width))


def frame_scores(
    pred: Integer[np.ndarray, "h w"], truth: Integer[np.ndarray, "h w"], objects: int
) -> tuple[Float64[np.ndarray, " objects"], Float64[np.ndarray, " objects"]]:
    """Returns J and F of every object (ids 1 to `objects`). Larger ids are treated as background."""
    height, width = truth.shape
    radius = boundary_radius(height, width)
    j, f = np.empty(objects), np.empty(objects)
    for k, masks in enumerate(object_masks(pred, truth, objects)):
        j[k] = _jaccard(masks)
        f[k] = f_within(boundaries(masks, width), radius)
    return j, f


def frame_overlaps(
    pred: Integer[np.ndarray, "h w"], truth: Integer[np.ndarray, "h w"], objects: int
) -> Float64[np.ndarray, " objects"]:
    """Returns J of every object (ids 1 to `objects`). Larger ids are treated as background."""
    return np.array([_jaccard(masks) for masks in object_masks(pred, truth, objects)])


def object_masks(
    pred: Integer[np.ndarray, "h w"], truth: Integer[np.ndarray, "h w"], objects: int
) -> Iterator[UInt64[np.ndarray, "2 words h1"]]:
    """Yields the predicted mask and the annotated mask of each object, packed and cropped."""
    return map(crop, pack_objects(np.stack([pred, truth]), objects))


def number_ids(ids: Integer[np.ndarray, "h w"], wanted: Sequence[int]) -> Integer[np.ndarray, "h w"]:
    """Renumbers the `wanted` ids to 1, 2, ... in the given order, and sets all other ids to 0."""
    table = np.zeros(max(int(ids.max(initial=0)), *wanted, 0) + 1, np.uint8 if len(wanted) < 256 else np.uint16)
    table[list(wanted)] = np.arange(1, len(wanted) + 1)
    return table[ids]


def f_within(edges: UInt64[np.ndarray, "2 words h"], radius: float | int) -> float:
    """Returns F of a predicted and an annotated boundary, with a tolerance of `radius` pixels; see `dilate`."""
    pred, truth = edges
    if not (pred.any() and truth.any()):
        return float(pred.any() == truth.any())
    near_pred, near_truth = dilate(edges, radius)
    precision = count(pred & near_truth) / count(pred)
    recall = count(truth & near_pred) / count(truth)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _jaccard(masks: UInt64[np.ndarray, "2 words h"]) -> float:
    union = count(masks[0] | masks[1])
    return count(masks[0] & masks[1]) / union if union else 1.0
