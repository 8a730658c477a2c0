"""Compares max-pooling and its gradient with loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hmmn_jax.ops.pooling import _max_of_windows, max_pool


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("pool", [max_pool, _max_of_windows], ids=["here", "on accelerators"])
def test_the_gradient_of_max_pool_goes_to_each_windows_maximum(x64, pool):
    x, gradient = np.abs(draw(2, 6, 8, 3)), draw(2, 3, 4, 3, seed=1)
    y, backward = jax.vjp(pool, jnp.asarray(x))
    expected = np.zeros_like(x)
    for image, i, j, channel in np.ndindex(gradient.shape):
        rows, columns = max(2 * i - 1, 0), max(2 * j - 1, 0)
        window = x[image, rows : 2 * i + 2, columns : 2 * j + 2, channel]
        row, column = np.unravel_index(window.argmax(), window.shape)
        assert y[image, i, j, channel] == window.max()
        expected[image, rows + row, columns + column, channel] += gradient[image, i, j, channel]
    np.testing.assert_allclose(backward(jnp.asarray(gradient))[0], expected, rtol=0, atol=1e-15)
