"""Compares convolutions of several sizes and strides with loops, and their gradients with those of XLA."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hmmn_jax.ops.conv2d import conv2d
from tests import oracles


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-5), ("float64", 1e-12)])
@pytest.mark.parametrize("outputs", [2, 6])
@pytest.mark.parametrize(("kernel_size", "stride"), [(1, 1), (1, 2), (3, 1), (3, 2), (7, 2)])
def test_convolution_has_pytorch_geometry(x64, kernel_size, stride, outputs, dtype, bound):
    convolve = jax.jit(conv2d, static_argnums=2)
    for size in ((8, 10), (7, 9)):
        x, kernel = draw(1, *size, 3), draw(kernel_size, kernel_size, 3, outputs, seed=1)
        found = convolve(x.astype(dtype), kernel.astype(dtype), stride)
        assert found.dtype == dtype
        np.testing.assert_allclose(found[0], oracles.conv(x[0], kernel, stride), rtol=0, atol=bound * kernel_size**2)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kernel_size", [3, 5])
def test_the_padding_of_tensorflow(x64, kernel_size, dtype):
    x, kernel = jnp.asarray(draw(1, 8, 9, 3), dtype), jnp.asarray(draw(kernel_size, kernel_size, 3, 6, seed=1), dtype)

    def by_xla(x, kernel):
        return jax.lax.conv_general_dilated(x, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    found, backward = jax.vjp(lambda x, kernel: conv2d(x, kernel, 2, same=True), x, kernel)
    expected, backward_by_xla = jax.vjp(by_xla, x, kernel)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
    for one, other in zip(backward(found), backward_by_xla(found), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("outputs", [2, 6])
def test_bfloat16_convolution_rounds_only_its_result(x64, outputs):
    x, kernel = (draw(*shape, seed=i).astype(jnp.bfloat16) for i, shape in enumerate([(1, 9, 10, 64), (3, 3, 64, outputs)]))
    found = jax.jit(conv2d)(x, kernel)
    exact = oracles.conv(x[0].astype(np.float64), kernel.astype(np.float64), 1)
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(found[0].astype(np.float64), exact, rtol=2**-8, atol=1e-4)  # rtol: half an ulp of bfloat16


SHAPES = (2, 5, 6, 3), (3, 3, 3, 2), (2, 5, 6, 2)  # input, kernel, output


def test_gradients_with_few_outputs(x64):
    """With few output channels, `conv2d` sums shifted products for all taps. The gradients must equal those of XLA."""
    x, kernel, gradient = (jnp.asarray(draw(*shape, seed=i)) for i, shape in enumerate(SHAPES))

    def by_xla(x, kernel):
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    for found, expected in zip(jax.vjp(conv2d, x, kernel)[1](gradient), jax.vjp(by_xla, x, kernel)[1](gradient), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
