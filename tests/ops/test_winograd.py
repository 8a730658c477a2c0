"""Compares Winograd's algorithm with the definition of a convolution, computed by NumPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hmmn_jax import Segmenter
from hmmn_jax.ops import winograd
from tests.small import SMALL, variables


def convolve(x, kernel):
    """Computes a 3x3 cross-correlation with one pixel of zero padding, as a sum of nine shifted products."""
    x, kernel = np.pad(x.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0))), kernel.astype(np.float64)
    h, w = x.shape[1] - 2, x.shape[2] - 2
    return sum(x[:, i : i + h, j : j + w] @ kernel[i, j] for i in range(3) for j in range(3))


@pytest.mark.parametrize("band_bytes", [1, 2**14, 2**24], ids=["a band a tile row", "some bands", "one band"])
@pytest.mark.parametrize(
    "shape", [(1, 1, 1, 4, 4), (1, 2, 9, 3, 5), (2, 4, 4, 2, 2), (3, 13, 30, 5, 6), (1, 30, 54, 64, 64), (2, 61, 109, 8, 12)]
)
def test_equals_the_definition(shape, band_bytes, monkeypatch):
    monkeypatch.setattr(winograd, "BAND_BYTES", band_bytes)
    b, h, w, c, o = shape
    rng = np.random.default_rng(0)
    x = rng.standard_normal((b, h, w, c), np.float32)
    kernel = rng.standard_normal((3, 3, c, o), np.float32) * np.float32(np.sqrt(2 / (9 * c)))
    expected = convolve(x, kernel)
    found = jax.jit(winograd.winograd_conv3x3)(x, kernel)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("band_bytes", [1, 2**14, 2**24], ids=["a band a tile row", "some bands", "one band"])
@pytest.mark.parametrize("shape", [(1, 2, 9, 3, 5), (3, 13, 30, 5, 6), (1, 32, 32, 64, 64)])
def test_gradients_equal_the_definition(shape, band_bytes, monkeypatch):
    monkeypatch.setattr(winograd, "BAND_BYTES", band_bytes)
    b, h, w, c, o = shape
    rng = np.random.default_rng(0)
    x, gradient = rng.standard_normal((b, h, w, c), np.float32), rng.standard_normal((b, h, w, o), np.float32)
    kernel = rng.standard_normal((3, 3, c, o), np.float32) * np.float32(np.sqrt(2 / (9 * c)))
    to_x, to_kernel = jax.jit(lambda *xs: jax.vjp(winograd.winograd_conv3x3, *xs[:2])[1](xs[2]))(x, kernel, gradient)
    expected = convolve(gradient, kernel[::-1, ::-1].swapaxes(2, 3))
    assert np.abs(to_x - expected).max() <= 1e-5 * np.abs(expected).max()
    padded = np.pad(x.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    taps = [[np.tensordot(padded[:, i : i + h, j : j + w], gradient, ((0, 1, 2),) * 2) for j in range(3)] for i in range(3)]
    assert np.abs(to_kernel - np.array(taps)).max() <= 1e-5 * np.abs(taps).max()


@pytest.mark.parametrize("kernel_bytes", [1, 2**11, 2**24], ids=["a group a channel", "some groups", "one group"])
@pytest.mark.parametrize("band_bytes", [1, 2**24], ids=["a band a tile row", "one band"])
def test_sums_and_relu(band_bytes, kernel_bytes, monkeypatch):
    """Convolves relu(x) and adds a bias and a map. The output and the gradients of all four arguments are compared."""
    monkeypatch.setattr(winograd, "BAND_BYTES", band_bytes)
    monkeypatch.setattr(winograd, "KERNEL_BYTES", kernel_bytes)
    b, h, w, c, o = 2, 13, 10, 6, 5
    rng = np.random.default_rng(0)
    x, add, gradient = (rng.standard_normal((b, h, w, n), np.float32) for n in (c, o, o))
    kernel, bias = rng.standard_normal((3, 3, c, o), np.float32) * np.float32(0.2), rng.standard_normal(o, np.float32)

    def run(*arrays):
        y, backward = jax.vjp(lambda *xs: winograd.winograd_conv3x3(*xs, True), *arrays)
        return y, *backward(jnp.asarray(gradient))

    y, to_x, to_kernel, to_bias, to_add = jax.jit(lambda *xs: run(*xs))(x, kernel, bias, add)
    expected = convolve(np.maximum(x, 0), kernel) + bias + add
    assert np.abs(y - expected).max() <= 1e-5 * np.abs(expected).max()
    expected = np.where(x > 0, convolve(gradient, kernel[::-1, ::-1].swapaxes(2, 3)), 0)
    assert np.abs(to_x - expected).max() <= 1e-5 * np.abs(expected).max()
    padded = np.pad(np.maximum(x, 0).astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    taps = [[np.tensordot(padded[:, i : i + h, j : j + w], gradient, ((0, 1, 2),) * 2) for j in range(3)] for i in range(3)]
    assert np.abs(to_kernel - np.array(taps)).max() <= 1e-5 * np.abs(taps).max()
    np.testing.assert_allclose(to_bias, gradient.sum((0, 1, 2), dtype=np.float64), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(to_add, gradient)


def test_a_nan_in_the_corner_does_not_reach_the_other_tiles():
    """The code makes the transformed kernel depend on the corner pixel, so that XLA does not compute this kernel too early.

    A NaN in this pixel must not change the transformed kernel.
    """
    rng = np.random.default_rng(0)
    x, kernel = rng.standard_normal((1, 12, 12, 3), np.float32), rng.standard_normal((3, 3, 3, 4), np.float32)
    x[0, 0, 0, 0] = np.nan
    found = np.asarray(jax.jit(winograd.winograd_conv3x3)(x, kernel))
    np.testing.assert_allclose(found[:, 4:, 4:], convolve(x, kernel)[:, 4:, 4:], rtol=0, atol=1e-4)


def test_is_on_in_float32_on_a_cpu_and_off_in_float64(x64):
    assert Segmenter(variables(), SMALL).config.winograd
    assert not Segmenter(variables(dtype="float64"), SMALL).config.winograd
    assert not Segmenter(variables(), SMALL, winograd=False).config.winograd
    assert not SMALL.winograd  # off by default in the config
