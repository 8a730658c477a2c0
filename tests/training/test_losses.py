"""Compares the cross-entropy of clips with implementations that loop over pixels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hmmn_jax.training.losses import frame_cross_entropy
from tests import oracles


def case(objects=3):
    rng = np.random.default_rng(0)
    return rng.normal(0, 4, (2, 2, objects + 1, 5, 6)), rng.integers(0, objects + 1, (2, 2, 5, 6), np.uint8)


def test_cross_entropy_equals_loops(x64):
    logits, masks = case()
    expected = [oracles.cross_entropy(*clip) for clip in zip(logits, masks, strict=True)]
    np.testing.assert_allclose(frame_cross_entropy(jnp.asarray(logits), jnp.asarray(masks)).sum(1), expected, rtol=1e-12)


def test_cross_entropy_by_hand(x64):
    """Two frames of two pixels each, with background and one object.

    In the first frame, the background and the object are equally likely. In the second frame, the object is three times as
    likely as the background.
    """
    logits = np.zeros((1, 2, 2, 1, 2))
    logits[0, 1, 1] = np.log(3)
    masks = np.array([[[[0, 1]], [[1, 0]]]], np.int32)
    expected = np.log(2) + (np.log(4 / 3) + np.log(4)) / 2
    np.testing.assert_allclose(frame_cross_entropy(jnp.asarray(logits), jnp.asarray(masks)).sum(1), [expected], rtol=1e-12)


def test_padded_objects_do_not_count(x64):
    logits, masks = case()
    padded = np.pad(logits, ((0, 0), (0, 0), (0, 2), (0, 0), (0, 0)), constant_values=-np.inf)

    def loss(logits):
        return frame_cross_entropy(logits, jnp.asarray(masks)).sum()

    (plain, grads), (with_padding, padded_grads) = (jax.value_and_grad(loss)(jnp.asarray(x)) for x in (logits, padded))
    np.testing.assert_allclose(with_padding, plain, rtol=1e-14)
    np.testing.assert_allclose(padded_grads[:, :, :4], grads, rtol=0, atol=1e-15)
    assert not np.asarray(padded_grads[:, :, 4:]).any()


@pytest.mark.parametrize(("dtype", "bound"), [(jnp.float32, 1e-6), (jnp.bfloat16, 1e-6)])
def test_cross_entropy_is_computed_in_float32_at_least(dtype, bound):
    logits, masks = case()
    logits = jnp.asarray(logits, dtype)
    found = frame_cross_entropy(logits, jnp.asarray(masks)).sum(1)
    expected = [oracles.cross_entropy(*clip) for clip in zip(np.asarray(logits, np.float64), masks, strict=True)]
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, rtol=bound)


def test_the_hardest_share_equals_a_sort(x64):
    """The same number of pixels is selected in every frame, even if the losses of one clip are larger."""
    logits, masks = case()
    logits[1] *= 10
    pixels = np.array([[oracles.pixel_cross_entropy(logits[b, t], masks[b, t]) for t in range(2)] for b in range(2)])
    for share, count in ((1.0, 30), (0.5, 15), (0.15, 5), (1e-6, 1)):
        expected = -np.sort(-pixels, axis=2)[:, :, :count].mean(2)
        np.testing.assert_allclose(frame_cross_entropy(jnp.asarray(logits), jnp.asarray(masks), share), expected, rtol=1e-12)


def test_only_the_hardest_share_has_gradients_and_ties_are_shared(x64):
    logits = np.zeros((1, 1, 2, 1, 6))
    # Logits of the object. All pixels are background, so the pixel with logit 3 has the largest loss. The pixels with logit 1
    # have equal losses.
    logits[0, 0, 1, 0] = [3, 1, 1, 1, -2, -3]
    masks = np.zeros((1, 1, 1, 6), np.uint8)
    gradient = jax.grad(lambda x: frame_cross_entropy(x, jnp.asarray(masks), jnp.asarray(0.5)).sum())(jnp.asarray(logits))
    wrong = 1 / (1 + np.exp(-np.array([3.0, 1, 1, 1, 0, 0])))
    weights = np.array([1, 2 / 3, 2 / 3, 2 / 3, 0, 0]) / 3
    np.testing.assert_allclose(gradient[0, 0, 1, 0], wrong * weights, rtol=1e-12)
