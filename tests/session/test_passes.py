"""Compares the stored blend of two passes with the exact formula. The probabilities are not multiples of 1/255."""

import numpy as np
import pytest

from hmmn_jax.io.packed import ArrayPool
from hmmn_jax.session.confidence import expected_j
from hmmn_jax.session.passes import merge_pass
from hmmn_jax.session.picture import Picture
from hmmn_jax.session.timeline import Basis, Stamp

BASIS = Basis(Stamp(2, "a"), Stamp(10, "b"))
AREAS = {"forward": {1: 30, 2: 5, 3: 1, 4: 20}, "backward": {1: 30, 2: 5, 3: 1, 4: 50, 9: 7}}


@pytest.mark.parametrize("areas", [None, AREAS])
@pytest.mark.parametrize("order", [("forward", "backward"), ("backward", "forward")])
def test_a_blend_is_within_the_stated_bound_of_the_formula(order, areas):
    """Frame 4 is at a quarter of the interval between the annotated frames 2 and 10.

    Object 1 is only in frame 2, object 9 is only in frame 10, and object 4 is in both.
    """
    rng, pool = np.random.default_rng(0), ArrayPool()
    forward, backward = rng.dirichlet((0.4, 0.4, 0.4), (2, 40, 50)).transpose(0, 3, 1, 2)
    passes = {
        "forward": Picture.pack(pool, (1, 4), np.array([0, 1, 4], np.uint8)[forward.argmax(0)], forward[1:]),
        "backward": Picture.pack(pool, (4, 9), np.array([0, 4, 9], np.uint8)[backward.argmax(0)], backward[1:]),
    }
    found = None
    share = 0.25
    if areas:
        before, after = (expected_j(one.mask, one.ids, one.objects())[4] for one in passes.values())
        share = 0.25 * after * 50 / (0.75 * before * 20 + 0.25 * after * 50)
    for way in order:
        found = merge_pass(BASIS, 4, found, way, passes[way], pool, areas)
        assert merge_pass(BASIS, 4, found, way, passes[way], pool, areas) is found
    assert found.is_final and found.picture.ids == (1, 4, 9)

    p = np.stack([forward[1], (1 - share) * forward[2] + share * backward[1], backward[2]])
    total = np.maximum(0, 1 - p.sum(0)) + p.sum(0)
    error = np.abs(found.picture.objects() - p / total)
    assert 0.2 < (p.sum(0) > 1).mean() < 0.8
    assert error.max() <= (3 + 2) / 510
    probs = np.sort(np.concatenate([np.maximum(0, 1 - p.sum(0))[None], p]), axis=0)
    clear = probs[-1] - probs[-2] > 4 / 255
    exact = np.array([0, 1, 4, 9])[np.concatenate([np.maximum(0, 1 - p.sum(0))[None], p]).argmax(0)]
    assert np.array_equal(found.picture.mask[clear], exact[clear]) and clear.mean() > 0.9


def test_a_pass_that_lost_an_object_has_no_weight():
    """Object 1 has pixels in both passes, object 2 only in the backward pass, and object 3 in neither pass."""
    pool, quarters = ArrayPool(), np.zeros((3, 4, 4), np.float32)
    quarters[0, :2, :2] = 1
    lost, found = quarters.copy(), quarters.copy()
    lost[1] = lost[2] = found[2] = 0.2
    found[1, 2:, 2:] = 0.8
    forward = Picture.pack(pool, (1, 2, 3), (lost[0] > 0.5).astype(np.uint8), lost)
    backward = Picture.pack(pool, (1, 2, 3), (found[0] > 0.5) + np.uint8(2) * (found[1] > 0.5), found)
    first = merge_pass(BASIS, 4, None, "forward", forward, pool, AREAS)
    blended = merge_pass(BASIS, 4, first, "backward", backward, pool, AREAS)
    p = blended.picture.objects()
    assert p[1, 3, 3] > 0.75 and np.array_equal(blended.picture.mask == 2, found[1] > 0.5)
    assert blended.picture.mask[0, 0] == 1 and blended.confidence.keys() == {1, 2}
    assert blended.confidence[2] < expected_j(backward.mask, (1, 2, 3), backward.objects())[2]  # the passes disagree
    np.testing.assert_allclose(p[2, 3, 0], 0.2, atol=2 / 255)


def test_a_pass_from_a_frame_in_which_the_object_is_nearly_hidden_has_little_weight():
    pool, square, elsewhere = ArrayPool(), np.zeros((1, 8, 8), np.float32), np.zeros((1, 8, 8), np.float32)
    square[0, :4, :4] = elsewhere[0, 4:, 4:] = 1
    forward, backward = (Picture.pack(pool, (1,), (p[0] > 0.5).astype(np.uint8), p) for p in (square, elsewhere))
    late = 9  # next to the annotated frame 10; only one pixel of the object is visible in frame 10
    first = merge_pass(BASIS, late, None, "forward", forward, pool, {"forward": {1: 16}, "backward": {1: 1}})
    assert np.array_equal(first.picture.mask, square[0])
    blended = merge_pass(BASIS, late, first, "backward", backward, pool, {"forward": {1: 16}, "backward": {1: 1}})
    assert np.array_equal(blended.picture.mask, square[0])
    equal = merge_pass(BASIS, late, first, "backward", backward, pool, {"forward": {1: 16}, "backward": {1: 16}})
    assert np.array_equal(equal.picture.mask, elsewhere[0])
