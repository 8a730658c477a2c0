"""A segmenter of the small model, and its results."""

import numpy as np

from hmmn_jax import Segmenter
from tests.small import SMALL, rectangles, variables

IDS = (3, 255)  # any ids, gaps allowed
MASK = rectangles(IDS)
LENGTH = 7

# Masks are rounded to float32 in the network. If two programs differ in the last bit of float64, one of a million values is
# rounded differently, and the difference grows with each frame. An error in the method gives differences that are a thousand
# times larger.
TOLERANCE = 2e-6


def make(dtype="float32", **options):
    return Segmenter(variables(SMALL, dtype), SMALL, **({"mem_every": 2} | options))


def steps(segmenter, frames, masks, **options):
    """The results of a video, step by step; `masks` by frame number."""
    state, results = segmenter.init(frames[0], masks.get(0)), []
    for t in range(1, len(frames)):
        state, result = segmenter.step(state, frames[t], masks.get(t), **options)
        results.append(result)
    return results


def assert_same(found, expected, atol=0.0):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.ids, other.ids)
        np.testing.assert_array_equal(one.mask, other.mask)
        np.testing.assert_allclose(one.probs, other.probs, rtol=0, atol=atol)
        np.testing.assert_allclose(one.logits, other.logits, rtol=0, atol=atol)
