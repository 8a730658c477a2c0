"""Compares the top-k selections for CPUs and GPUs with `jax.lax.top_k`."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hmmn_jax.ops.selection import top_k, top_k_in_groups, top_k_in_rounds
from tests.lowered import lower, shape


def rows():
    """Returns rows of 1100 numbers: without ties, with many ties, with infinities, with zeros of both signs, or all equal."""
    rng = np.random.default_rng(0)
    plain, few = rng.normal(size=(6, 1100)), rng.integers(-2, 3, (6, 1100))
    mostly_absent = np.where(np.arange(1100) % 51 == 7, plain, -np.inf)  # 22 finite numbers, fewer than 32
    greatest = np.where(few == 2, np.inf, few)
    zeros = np.where(rng.random((6, 1100)) < 0.5, 0.0, -0.0)
    zeros[:, ::97] = rng.integers(-1, 2, zeros[:, ::97].shape)
    # The first half of each row is -inf, as for a memory without a first frame.
    half = np.concatenate([np.full((6, 550), -np.inf), few[:, 550:]], axis=1)
    return np.concatenate([plain, few, mostly_absent, greatest, zeros, half, np.full((6, 1100), -np.inf)]).astype(np.float32)


@pytest.mark.parametrize("k", [17, 32, 40])
def test_rounds_are_the_definition(k):
    x = rows().reshape(7, 2, 3, 1100)
    for found, wanted in zip(jax.jit(top_k_in_rounds, static_argnums=1)(x, k), jax.lax.top_k(x, k), strict=True):
        assert found.dtype == wanted.dtype
        np.testing.assert_array_equal(found, wanted)
        np.testing.assert_array_equal(np.signbit(found), np.signbit(wanted))


@pytest.mark.parametrize("k", [1, 17, 32, 40])
@pytest.mark.parametrize("length", [1100, 1098, 1097, 240])  # 2, 0, 5 and 0 numbers after the last whole group
def test_groups_are_the_definition(k, length):
    x = rows()[:, -length:].reshape(7, 2, 3, length)
    for found, wanted in zip(
        jax.jit(top_k_in_groups, static_argnums=1)(x, k), jax.lax.top_k(np.where(x == 0, 0, x), k), strict=True
    ):
        assert found.dtype == wanted.dtype
        np.testing.assert_array_equal(found, wanted)
        np.testing.assert_array_equal(np.signbit(found), np.signbit(wanted))


def test_groups_of_rows_no_longer_than_the_selection():
    x = jnp.asarray(rows()[:, :32])
    for found, wanted in zip(top_k_in_groups(x, 32), jax.lax.top_k(np.where(x == 0, 0, x), 32), strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("select", [top_k_in_rounds, top_k_in_groups])
def test_numbers_that_are_none_come_first_as_in_the_definition(select):
    x = jnp.where(np.arange(1100) % 60 == 1, np.nan, rows()[:1])  # 19 NaNs
    found, wanted = select(x, 32), jax.lax.top_k(x, 32)
    assert np.isnan(found[0]).sum() == 19
    np.testing.assert_array_equal(found[1], wanted[1])


def test_rows_no_longer_than_the_selection():
    x = jnp.asarray(rows()[:, :32])
    for found, wanted in zip(top_k_in_rounds(x, 32), jax.lax.top_k(x, 32), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_the_least_number_counts_as_absent():
    least = np.finfo(np.float32).min
    best, indices = top_k_in_rounds(jnp.array([[-np.inf, least, 1.0]], np.float32), 3)
    assert best.tolist() == [[1.0, -np.inf, -np.inf]] and indices.tolist() == [[2, 0, 1]]


@pytest.mark.parametrize(
    ("platform", "dtype", "cells", "k", "expected"),
    [
        ("cuda", "float32", 3240, 32, ["1620x3240x, 16"] * 2),
        ("rocm", "float32", 3240, 32, ["1620x3240x, 16"] * 2),
        ("cuda", "float32", 3240, 8, ["1x1x1620x3240x, 8"]),
        ("cuda", "float32", 576, 32, ["1x1x1620x576x, 32"]),  # too short for XLA's top-k kernel, so rows are sorted once
        ("cuda", "bfloat16", 3240, 32, ["1x1x1620x3240x, 32"]),
        ("cpu", "float32", 3240, 32, ["1x1x1620x540x, 32", "1x1x1620x192x, 32"]),
        ("cpu", "float64", 3244, 32, ["1x1x1620x540x, 32", "1x1x1620x196x, 32"]),
        ("cpu", "float32", 2559, 32, ["1x1x1620x2559x, 32"]),  # too short for groups
        ("tpu", "float32", 3240, 32, ["1x1x1620x3240x, 32"]),
    ],
)
def test_each_device_has_its_algorithm(platform, dtype, cells, k, expected):
    text = lower(lambda x: top_k(x, k), shape(1, 1, 1620, cells, dtype=jnp.dtype(dtype)), platform=platform)
    found = re.findall(r"chlo.top_k\(%\S+, k = (\d+)\) : tensor<([\dx]+)", text)
    assert [f"{dims}, {count}" for count, dims in found] == expected


@pytest.mark.parametrize(("cells", "expected"), [(1152, []), (3240, ["1,1,576,32"])])  # groups sort only the selected groups
def test_several_users_do_not_bring_back_the_sort(cells, expected):
    """The memory reads at strides 8 and 4 use slices of the same top-k result.

    Without an optimization barrier, XLA would sort whole rows because of the slices.
    """

    def users(x):
        best, indices = top_k(x, 32)
        return best > -jnp.inf, indices, indices[..., :16]

    text = jax.jit(users).lower(shape(1, 1, 576, cells)).compile().as_text()
    sorts = re.findall(r"\[([\d,]*)\]\S* sort\(", text)
    assert "TopK" in text and sorts == expected
