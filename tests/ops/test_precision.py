"""Tests which matrix products are exact on which platform."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hmmn_jax.ops.precision import exact_einsum, fast_values_einsum, values_einsum
from tests.lowered import lower, products, shape

read = functools.partial(values_einsum, "qm,mv->qv")


@pytest.mark.parametrize(
    ("platform", "dtype", "expected"),
    [
        ("cuda", "bfloat16", ("DEFAULT", "bf16")),
        ("cuda", "float32", ("DEFAULT", "f32")),
        ("cuda", "float64", ("DEFAULT", "f64")),
        ("tpu", "bfloat16", ("DEFAULT", "bf16")),
        ("cpu", "bfloat16", ("HIGHEST", "f32")),
        ("cpu", "float32", ("HIGHEST", "f32")),
    ],
)
def test_values_are_read_as_the_platform_multiplies_best(x64, platform, dtype, expected):
    weights = jnp.promote_types(dtype, jnp.float32)
    text = lower(read, shape(3, 5, dtype=weights), shape(5, 2, dtype=jnp.dtype(dtype)), platform=platform)
    ((precision, (_, left), (_, right)),) = products(text)
    assert (precision, left) == expected and right in (left, "bf16")


def test_no_gradient_of_a_value_is_exact_on_gpus():
    gradient = jax.grad(lambda weights, values: read(weights, values).sum(), (0, 1))
    for dtype in (jnp.bfloat16, jnp.float32):
        found = products(lower(gradient, shape(3, 5), shape(5, 2, dtype=dtype)))
        assert len(found) == 2 and {precision for precision, *_ in found} == {"DEFAULT"}


def test_on_a_cpu_values_and_their_gradients_are_exact_bit_for_bit():
    rng = np.random.default_rng(0)
    weights, values, above = (rng.normal(size=size).astype(np.float32) for size in ((40, 50), (50, 30), (40, 30)))
    for dtype in (jnp.float32, jnp.bfloat16):
        results = []
        for function in (read, functools.partial(exact_einsum, "qm,mv->qv")):
            value, backward = jax.jit(functools.partial(jax.vjp, function))(weights, values.astype(dtype))
            results.append((value, *backward(jnp.asarray(above))))
        for found, wanted in zip(*results, strict=True):
            np.testing.assert_array_equal(found, wanted)


def test_a_fast_product_rounds_its_operands_alone():
    rng = np.random.default_rng(0)
    weights, values = rng.random((40, 50)).astype(np.float32), rng.normal(size=(50, 30)).astype(jnp.bfloat16)
    found = fast_values_einsum("qm,mv->qv", jnp.asarray(weights), jnp.asarray(values))
    assert found.dtype == np.float32
    wanted = weights.astype(jnp.bfloat16).astype(np.float64) @ values.astype(np.float64)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4)
