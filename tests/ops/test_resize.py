"""Bilinear upsampling."""

import jax.numpy as jnp
import numpy as np
import pytest

from hmmn_jax.ops.resize import upsample
from tests import oracles


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("factor", [2, 4])
def test_upsampling_is_bilinear_with_half_pixel_centres(x64, factor):
    x = draw(2, 3, 5, 2)
    expected = [oracles.bilinear(one, factor) for one in x]
    np.testing.assert_allclose(upsample(jnp.asarray(x), factor), expected, rtol=0, atol=1e-12)
