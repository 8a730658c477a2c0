"""Bilinear upsampling."""

import jax.numpy as jnp
import numpy as np
import pytest

from hmmn_jax.ops.resize import by_products, upsample
from tests import oracles
from tests.lowered import lower, products, shape


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("form", [upsample, by_products])
@pytest.mark.parametrize("factor", [2, 4])
def test_upsampling_is_bilinear_with_half_pixel_centres(x64, factor, form):
    x = draw(2, 3, 5, 2)
    expected = [oracles.bilinear(one, factor) for one in x]
    np.testing.assert_allclose(form(jnp.asarray(x), factor), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_it_is_a_matrix_product_on_a_tpu_only(platform):
    text = lower(lambda x: upsample(x, 2), shape(1, 8, 9, 16), platform=platform)
    assert len(products(text)) == (2 if platform == "tpu" else 0)
