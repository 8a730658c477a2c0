"""Compares the custom gradients of `hmmn_jax.ops.convolution` with loops over taps and pixels in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hmmn_jax.ops import convolution
from hmmn_jax.ops.convolution import at_all_pixels, convolve
from tests import oracles


def gradients_by_loops(x, kernel, stride, gradient):
    """Returns the gradients of the input and the kernel, added up in loops over output pixels and kernel taps."""
    size = kernel.shape[0]
    padding = [(0, 0), (size // 2, size // 2), (size // 2, size // 2), (0, 0)]
    x = np.pad(x, padding)
    to_x, to_kernel = np.zeros_like(x), np.zeros_like(kernel)
    for image, row, column in np.ndindex(gradient.shape[:3]):
        for i, j in np.ndindex(size, size):
            at = image, row * stride + i, column * stride + j
            to_x[at] += kernel[i, j] @ gradient[image, row, column]
            to_kernel[i, j] += np.outer(x[at], gradient[image, row, column])
    inside = slice(size // 2, -(size // 2) or None)
    return to_x[:, inside, inside], to_kernel


@pytest.mark.parametrize("band_bytes", [1, 2**30], ids=["a band a row", "one band"])
@pytest.mark.parametrize(("size", "stride"), [(1, 1), (1, 2), (3, 1), (3, 2), (7, 2)])
def test_gradients_of_a_convolution(x64, monkeypatch, size, stride, band_bytes):
    monkeypatch.setattr(convolution, "BAND_BYTES", band_bytes)
    rng = np.random.default_rng(0)
    for height, width in ((6, 8), (5, 9)):
        x, kernel = rng.normal(size=(2, height, width, 3)), rng.normal(size=(size, size, 3, 4))
        y, backward = jax.vjp(lambda x, kernel: convolve(x, kernel, stride), jnp.asarray(x), jnp.asarray(kernel))
        np.testing.assert_allclose(y[1], oracles.conv(x[1], kernel, stride), rtol=0, atol=1e-12)
        gradient = rng.normal(size=y.shape)
        expected = gradients_by_loops(x, kernel, stride, gradient)
        for found, wanted in zip(backward(jnp.asarray(gradient)), expected, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12)


def test_bfloat16_is_summed_in_float32():
    """Sums 4096 ones. In bfloat16, the sum would stop at 256, because 256 + 1 is rounded to 256."""
    x, kernel = jnp.ones((1, 64, 64, 1), jnp.bfloat16), jnp.ones((1, 1, 1, 1), jnp.bfloat16)
    y, backward = jax.vjp(lambda kernel, bias: convolve(x, kernel, 1) + at_all_pixels(bias, x.shape), kernel, kernel[0, 0, 0])
    to_kernel, to_bias = backward(jnp.ones_like(y))
    assert to_kernel.dtype == to_bias.dtype == jnp.bfloat16
    assert to_kernel.item() == to_bias.item() == 4096


def test_gradient_of_what_is_the_same_at_all_pixels(x64):
    rng = np.random.default_rng(0)
    values, gradient = rng.normal(size=3), rng.normal(size=(2, 4, 5, 3))
    y, backward = jax.vjp(lambda values: at_all_pixels(values, gradient.shape), jnp.asarray(values))
    assert y.shape == gradient.shape
    assert (np.asarray(y) == values).all()
    np.testing.assert_allclose(backward(jnp.asarray(gradient))[0], gradient.sum((0, 1, 2)), rtol=1e-12)
