"""Helpers that create a `Segmenter` of the small model, run it step by step, and compare results."""

import numpy as np

from hmmn_jax import Segmenter
from tests.small import SMALL, rectangles, variables

IDS = (3, 255)  # arbitrary ids, with a gap
MASK = rectangles(IDS)
LENGTH = 7

# The network rounds masks to float32. If the float64 values of two programs differ in the last bit, one in a million values is
# rounded to a different float32 number. The difference between the programs grows with each frame. A mistake in the code would
# cause differences that are a thousand times larger.
TOLERANCE = 2e-6


def make(dtype="float32", **options):
    return Segmenter(variables(SMALL, dtype), SMALL, **({"mem_every": 2} | options))


def steps(segmenter, frames, masks, **options):
    """Returns the results of `step` for the frames after the first. `masks` maps frame numbers to given masks."""
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
