"""Tests `by_platform` with a function that has several implementations, each with its own gradient."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from hmmn_jax.ops.platform import by_platform
from tests.lowered import lower, shape

X, CELLS = np.array([3.0, 5.0, 7.0], np.float32), np.array([2, 0], np.int32)


def double(x, cells):
    return 2 * jnp.sin(x)[cells]


def triple(x, cells):
    return 3 * jnp.tanh(x)[cells]


def test_a_platform_has_its_form_and_the_gradient_of_that():
    function = functools.partial(by_platform, cpu=double, cuda=triple, default=triple)
    value, backward = jax.vjp(function, X, CELLS)
    np.testing.assert_allclose(value, 2 * np.sin(X[CELLS]), rtol=1e-6)
    found, of_cells = backward(jnp.array([1.0, 10.0]))
    np.testing.assert_allclose(found, 2 * np.cos(X) * [10, 0, 1], rtol=1e-6)
    assert of_cells.dtype == jax.dtypes.float0


def test_nothing_of_the_other_forms_is_lowered():
    function = functools.partial(by_platform, cpu=double, default=triple)
    gradient = jax.grad(lambda x, cells: function(x, cells).sum())
    arguments = shape(3), shape(2, dtype=jnp.int32)
    for platform, own, other in (("cpu", "cosine", "tanh"), ("cuda", "tanh", "cosine"), ("tpu", "tanh", "cosine")):
        text = lower(gradient, *arguments, platform=platform)
        assert f"stablehlo.{own}" in text and f"stablehlo.{other}" not in text and "stablehlo.sine" not in text
