"""Computes the confidence of masks and chooses the next frame to annotate.

The confidence of an object in a frame is the expected J (intersection over union) given the object's probabilities. The
confidence is reduced where the forward and backward passes disagree. The constants in the formulas were not fitted to data.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Integer

ABSENT = 0.5  # confidence of an annotated object that has no pixels in a frame: it may be hidden or lost


def expected_j(mask: Integer[np.ndarray, "H W"], ids: Sequence[int], p: Float[np.ndarray, "k H W"]) -> dict[int, float]:
    """The expected J of each object given the object's probabilities.

    The expected J is (sum of p inside the mask) / (number of pixels inside + sum of p outside).

    Args:
        mask: the object id of each pixel.
        ids: the ids of the objects.
        p: the probabilities of each object.

    Returns:
        The confidence of each object that has pixels, in [0, 1], by id.
    """
    found = {}
    for k, p_k in zip(ids, p, strict=True):
        inside = mask == k
        if area := int(inside.sum()):
            shared = float(p_k[inside].sum(dtype=np.float64))
            found[k] = shared / (area + float(p_k.sum(dtype=np.float64)) - shared)
    return found


def agreement(u: float, forward: Float[np.ndarray, "H W"], backward: Float[np.ndarray, "H W"]) -> float:
    """The agreement of two passes on one object, from 0 to 1.

    The agreement is 1 - 2 min(u, 1 - u) (1 - J). Each pixel has one probability per pass. J is the sum of the smaller
    probabilities over all pixels, divided by the sum of the larger probabilities. Disagreement has full weight midway between
    two annotated frames, and no weight at the annotated frames themselves.

    Args:
        u: relative position of the frame between the two annotated frames, from 0 to 1.
        forward: probabilities of the object in the forward pass.
        backward: probabilities of the object in the backward pass.
    """
    union = float(np.maximum(forward, backward).sum(dtype=np.float64))
    j = float(np.minimum(forward, backward).sum(dtype=np.float64)) / union if union else 1.0
    return 1 - 2 * min(u, 1 - u) * (1 - j)


def most_doubtful(confidence: Mapping[int, Sequence[float]], anchors: Sequence[int], frames: int) -> int | None:
    """Selects the frame to annotate next.

    Args:
        confidence: for each frame that is up to date, the confidence of each object that the neighbouring annotations contain.
            The confidence is NaN if the object has no pixels in the frame.
        anchors: the annotated frames, in ascending order.
        frames: number of frames in the video.

    Returns:
        The frame with the lowest mean confidence. If several frames have the same confidence, the frame farthest from any
        annotated frame is chosen. If several frames also have the same distance, the frame with the lowest index is chosen. If
        `confidence` is empty, the frame farthest from any annotated frame is returned. If all frames are annotated, None is
        returned.
    """

    def distance(t: int) -> int | float:
        return min((abs(t - a) for a in anchors), default=math.inf)

    scores = {t: float(np.mean([ABSENT if math.isnan(c) else c for c in found])) for t, found in confidence.items() if found}
    left = sorted(scores) or [t for t in range(frames) if t not in anchors]
    return min(left, key=lambda t: (scores.get(t, 0.0), -distance(t), t), default=None)
