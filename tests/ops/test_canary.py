"""Compares results with and without jit for memory reads, and for operations that some jaxlib releases compute wrongly."""

import functools
import os
import subprocess
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hmmn_jax.model.matching import kernel_guided_read, select_topk, topk_guided_read
from hmmn_jax.ops import canary

pytestmark = pytest.mark.usefixtures("optimised")


def squared_norms(rows):
    """Computes a matrix-vector product and then a sum for each row, as in jax issue 39103."""
    matrix = jnp.eye(3, dtype=rows.dtype)
    return jax.vmap(lambda row: jnp.sum((matrix @ row) ** 2))(rows)


@pytest.mark.parametrize(
    ("dtype", "count"),
    [(np.float32, 32_769), (np.float32, 40_000), (np.float64, 16_385), (np.float64, 40_000)],
)
def test_a_reduction_over_a_long_batch(x64, dtype, count):
    rows = np.zeros((count, 3), dtype)
    rows[:, 0] = np.arange(count)
    for found in (jax.jit(squared_norms)(rows), squared_norms(jnp.asarray(rows))):
        np.testing.assert_array_equal(found, rows[:, 0] ** 2)


@pytest.mark.parametrize("shape", [(10, 4, 6), (30, 40, 50)])
def test_a_reduction_of_a_broadcast_product(shape):
    """Sums a product with many axes over one axis. This is a smaller version of the case in jax issue 39257."""
    rng = np.random.default_rng(0)
    left = rng.random(shape, np.float32)
    right = rng.random((*shape, 3, 3, 3), np.float32)

    def reduce(left, right):
        return jnp.log(jnp.sum(left[..., None, None, None] * right, axis=2))

    expected = np.log(np.einsum("abc,abcxyz->abxyz", left, right))
    for found in (jax.jit(reduce)(left, right), reduce(jnp.asarray(left), jnp.asarray(right))):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def draw(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def assert_close(found, expected):
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        if jnp.issubdtype(one.dtype, jnp.floating):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)
        else:
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("slots", [1, 3])
def test_the_kernel_guided_read_with_and_without_jit(slots):
    """The frames have 540 cells, a third as many as a 480p frame. Each slot has 290,000 affinities per object."""
    height, width = 18, 30
    keys, values = draw(0, 1, 2, slots, height, width, 16), draw(1, 1, 2, slots, height, width, 8)
    centres = jnp.asarray(np.random.default_rng(2).integers(0, 540, (1, 2, slots, 540)), jnp.int32)
    arguments = keys, values, draw(3, 1, height, width, 16), centres
    read = functools.partial(kernel_guided_read, return_affinity=True)
    compiled = jax.jit(read)(*arguments)
    with jax.disable_jit():
        assert_close(compiled, read(*arguments))


def test_the_topk_guided_read_with_and_without_jit():
    cells, p, k = 540, 4, 32
    blocks = draw(0, 1, 2, 2 * cells, p, 16), draw(1, 1, 2, 2 * cells, p, 8)
    query, affinity = draw(2, 1, cells, p, 16), draw(3, 1, 2, cells, 2 * cells).at[..., 500:].set(-jnp.inf)

    def read(keys, values, query, affinity):
        indices, present = select_topk(affinity, k)
        return topk_guided_read(keys, values, query, indices, present), indices, present

    compiled = jax.jit(read)(*blocks, query, affinity)
    with jax.disable_jit():
        assert_close(compiled, read(*blocks, query, affinity))


def test_the_tests_run_on_sound_ground():
    canary.reductions_are_sound.cache_clear()  # a test without XLA's optimisations may have cached a result
    assert canary.reductions_are_sound()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        canary.warn_if_cpu_is_unsound()


def test_a_user_of_an_affected_jaxlib_is_reported(monkeypatch):
    monkeypatch.setattr(canary, "reductions_are_sound", lambda: False)
    with pytest.warns(UserWarning, match=f"issue 39103.*XLA_FLAGS={canary.WAY_OUT}"):
        canary.warn_if_cpu_is_unsound()


def test_the_canary_warns_without_the_flag_only_where_jaxlib_is_affected():
    """In a process without the XLA flags of the tests, a warning is printed if and only if results are wrong."""
    program = "from hmmn_jax.ops import canary; canary.warn_if_cpu_is_unsound(); print(canary.reductions_are_sound())"
    environment = {**os.environ, "XLA_FLAGS": "", "JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join(sys.path)}
    environment["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "false"
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert (done.stdout.split()[-1] == "False") == ("jax issue 39103" in done.stderr)
