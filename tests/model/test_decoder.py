"""Compares soft aggregation with its formula, and tests padded objects and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hmmn_jax.model.decoder import soft_aggregation
from tests import oracles


def probabilities(objects, seed=0):
    """Returns random probabilities of separate objects, `[2,o,6,7]`. Some values are exactly 0 or 1."""
    p = np.random.default_rng(seed).random((2, objects, 6, 7))
    p[p < 0.15], p[p > 0.85] = 0, 1
    return p


@pytest.mark.parametrize("objects", [1, 2, 7])
def test_soft_aggregation_equals_loops(x64, objects):
    p = probabilities(objects)
    logits = soft_aggregation(jnp.asarray(p))
    np.testing.assert_allclose(logits, [oracles.aggregate(one) for one in p], rtol=0, atol=1e-9)


def test_soft_aggregation_of_one_object_by_hand(x64):
    logits = soft_aggregation(jnp.array([[[[0.75, 1.0, 0.0]]]]))
    edge = np.log(1e-7 / (1 - 1e-7))
    np.testing.assert_allclose(logits[0, :, 0], [[-np.log(3), edge, -edge], [np.log(3), -edge, edge]], rtol=1e-9)


def test_no_object_at_all_is_background():
    logits = soft_aggregation(jnp.zeros((1, 0, 2, 3)))
    np.testing.assert_array_equal(jax.nn.softmax(logits, axis=1), np.ones((1, 1, 2, 3)))


def test_padded_objects_take_no_part(x64):
    p = np.concatenate([probabilities(2), probabilities(3, seed=1)], axis=1)
    valid = jnp.arange(5)[None] < jnp.array([[2], [2]])
    padded, plain = soft_aggregation(jnp.asarray(p), valid), soft_aggregation(jnp.asarray(p[:, :2]))
    np.testing.assert_array_equal(padded[:, :3], plain)
    assert (np.asarray(padded[:, 3:]) == -np.inf).all()
    probs = jax.nn.softmax(padded, axis=1)
    assert not np.asarray(probs[:, 3:]).any()
    np.testing.assert_allclose(probs[:, :3], jax.nn.softmax(plain, axis=1), rtol=1e-14)


def test_padding_is_reported_for_each_sample(x64):
    p = probabilities(3)
    valid = jnp.array([[True, True, True], [False, True, False]])
    logits = soft_aggregation(jnp.asarray(p), valid)
    np.testing.assert_allclose(logits[0], oracles.aggregate(p[0]), rtol=0, atol=1e-9)
    np.testing.assert_allclose(logits[1, [0, 2]], oracles.aggregate(p[1, 1:2]), rtol=0, atol=1e-9)
    assert (np.asarray(logits[1, [1, 3]]) == -np.inf).all()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_gradients_are_finite_and_padding_has_none(x64, dtype):
    p = jnp.asarray(probabilities(4), dtype)
    valid = jnp.array([[True, True, False, False]] * 2)

    def loss(p):
        return -jnp.log(jax.nn.softmax(soft_aggregation(p, valid), axis=1)[:, :3] + 1e-3).sum()

    gradient = np.asarray(jax.jit(jax.grad(loss))(p))
    assert np.isfinite(gradient).all() and np.abs(gradient[:, :2]).max() > 0.1 and not gradient[:, 2:].any()
