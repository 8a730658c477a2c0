"""Compares results of `inverted_residual` in bands with results for whole maps, and results for whole maps with loops.

`test_efficientnet_lite.py` compares the network that contains these blocks with PyTorch.
"""

import functools

import jax
import numpy as np
import pytest

from hmmn_jax.ops import inverted_residual as module
from hmmn_jax.ops.inverted_residual import Weights, inverted_residual
from tests.ops.test_depthwise import by_loops


def case(size, expanded=True, height=15):
    rng = np.random.default_rng(0)
    wide = 6 if expanded else 3

    def weights(*shape):
        return Weights(rng.normal(size=shape), rng.normal(size=shape[-1]))

    expand = weights(1, 1, 3, wide) if expanded else None
    return rng.normal(size=(2, height, 8, 3)), expand, weights(size, size, 1, wide), weights(1, 1, wide, 4)


def literal(x, expand, depthwise, project, stride):
    size = len(depthwise.kernel)
    if expand is not None:
        x = np.clip(x @ expand.kernel[0, 0] + expand.bias, 0, 6)
    padding = []
    for side in x.shape[1:3]:
        zeros = max((-(-side // stride) - 1) * stride + size - side, 0)
        padding.append((zeros // 2, zeros - zeros // 2))
    y, *_ = by_loops(x, depthwise.kernel, stride, padding)
    return np.clip(y + depthwise.bias, 0, 6) @ project.kernel[0, 0] + project.bias


def test_without_expansion(x64):
    arguments = case(3, expanded=False)
    found = jax.jit(functools.partial(inverted_residual, stride=1))(*arguments)
    np.testing.assert_allclose(found, literal(*arguments, 1), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("size", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])
def test_bands_of_any_height_equal_whole_maps(x64, monkeypatch, size, stride):
    """Processes maps in bands of one and two output rows. The last band may extend beyond the map."""
    arguments = case(size)
    expected = literal(*arguments, stride)
    gradient = np.random.default_rng(1).normal(size=expected.shape)

    def run(*arguments):
        y, backward = jax.vjp(functools.partial(inverted_residual, stride=stride), *arguments)
        return y, *jax.tree.leaves(backward(gradient))

    whole = jax.jit(run)(*arguments)
    np.testing.assert_allclose(whole[0], expected, rtol=0, atol=1e-12)
    row = stride * 2 * 12 * 6 * 8  # bytes per output row: `stride` input rows, 2 images, up to 12 columns, 6 channels, float64
    in_bands, taken = module._in_bands, []
    monkeypatch.setattr(
        module, "_in_bands", lambda *args, **options: taken.append(options["rows"]) or in_bands(*args, **options)
    )
    for rows in (1, 2):
        monkeypatch.setattr(module, "BAND_BYTES", rows * row)
        for found, wanted in zip(jax.jit(lambda *xs: run(*xs))(*arguments), whole, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-11)
    assert {1, 2} <= set(taken)
