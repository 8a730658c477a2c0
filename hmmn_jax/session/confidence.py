"""How much a mask can be trusted, from its probabilities and from how well the two directions agree; which frame to annotate.

No figure here was fitted. The confidence of an object in a frame is the J (intersection over union) that its own probabilities
let expect, lowered where the two directions disagree.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Integer

ABSENT = 0.5  # what an object counts that was annotated nearby and has no pixel: it is hidden, or it was lost


def expected_j(mask: Integer[np.ndarray, "H W"], ids: Sequence[int], p: Float[np.ndarray, "k H W"]) -> dict[int, float]:
    """The J of each object that its probabilities let expect: sum of p inside, by the pixels inside and the sum of p outside.

    Args:
        mask: the ids.
        ids: of the objects.
        p: the probability of each.

    Returns:
        By id a number in [0, 1]; objects without a pixel are left out.
    """
    found = {}
    for k, p_k in zip(ids, p, strict=True):
        inside = mask == k
        if area := int(inside.sum()):
            shared = float(p_k[inside].sum(dtype=np.float64))
            found[k] = shared / (area + float(p_k.sum(dtype=np.float64)) - shared)
    return found


def agreement(u: float, forward: Float[np.ndarray, "H W"], backward: Float[np.ndarray, "H W"]) -> float:
    """How well two passes agree on one object: 1 - 2 min(u, 1 - u) (1 - J), J = sum of minima by sum of maxima.

    Disagreement counts in full in the middle between the annotated frames, and not near them, where one pass has little weight.

    Args:
        u: where the frame is between the annotated ones, from 0 to 1.
        forward: probabilities of the object in one pass.
        backward: those in the other.
    """
    union = float(np.maximum(forward, backward).sum(dtype=np.float64))
    j = float(np.minimum(forward, backward).sum(dtype=np.float64)) / union if union else 1.0
    return 1 - 2 * min(u, 1 - u) * (1 - j)


def most_doubtful(confidence: Mapping[int, Sequence[float]], anchors: Sequence[int], frames: int) -> int | None:
    """The frame whose annotation promises most.

    Args:
        confidence: of the frames that are up to date, of each object that is annotated nearby; NaN where it is absent.
        anchors: the annotated frames, ascending.
        frames: how many the video has.

    Returns:
        The frame of the least mean confidence; of several, the one farthest from an annotated frame, then the first. Without
        any such frame, the frame that is farthest from an annotated one. None where all frames are annotated.
    """

    def distance(t: int) -> int | float:
        return min((abs(t - a) for a in anchors), default=math.inf)

    scores = {t: float(np.mean([ABSENT if math.isnan(c) else c for c in found])) for t, found in confidence.items() if found}
    left = sorted(scores) or [t for t in range(frames) if t not in anchors]
    return min(left, key=lambda t: (scores.get(t, 0.0), -distance(t), t), default=None)
