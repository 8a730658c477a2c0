"""Tests run-length encoding by comparison with pycocotools."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco

from hmmn_jax.exports.rle import bounding_box, compress, decode, encode, run_lengths

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # raised by pycocotools


def test_literal_runs():
    """Pixels are in column-major order, and the first run is background."""
    mask = np.array([[0, 1, 1], [0, 1, 0]], bool)
    assert run_lengths(mask).tolist() == [2, 3, 1]
    assert run_lengths(~mask).tolist() == [0, 2, 3, 1]
    assert run_lengths(np.zeros((2, 3), bool)).tolist() == [6]
    assert run_lengths(np.ones((2, 3), bool)).tolist() == [0, 6]
    assert encode(mask) == {"size": [2, 3], "counts": "231"}


@settings(max_examples=40, deadline=None)
@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=12)))
def test_decoding_is_the_inverse(mask):
    np.testing.assert_array_equal(decode(encode(mask)["counts"], *mask.shape), mask)
    theirs = coco.encode(np.asfortranarray(mask, np.uint8))["counts"].decode()
    np.testing.assert_array_equal(decode(theirs, *mask.shape), mask)


def test_long_runs_are_decoded():
    """The encoded differences between run lengths are positive or negative, and some have more than one character."""
    rng = np.random.default_rng(0)
    mask = np.zeros((700, 900), bool)
    for _ in range(8):
        y, x = rng.integers(0, 600, 2)
        mask[y : y + rng.integers(1, 400), x : x + rng.integers(1, 300)] ^= True
    for one in (mask, ~mask, rng.random((700, 900)) < 0.001):
        np.testing.assert_array_equal(decode(encode(one)["counts"], 700, 900), one)


@pytest.mark.parametrize("counts", ["", "231o", "23", "2311", "\x1f", "é", "P" * 20 + "0"])
def test_what_is_not_an_encoding(counts):
    with pytest.raises(ValueError, match=r"counts|pixels"):
        decode(counts, 2, 3)


@settings(max_examples=40, deadline=None)
@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=12)))
def test_small_masks_are_encoded_as_by_pycocotools(mask):
    expected = coco.encode(np.asfortranarray(mask, np.uint8))
    assert encode(mask) == {"size": list(expected["size"]), "counts": expected["counts"].decode()}
    if mask.any():
        assert bounding_box(mask) == coco.toBbox(expected).tolist()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 2**20), min_size=1, max_size=9))
def test_lengths_of_any_size(lengths):
    """The encoded differences between run lengths may be negative and have up to five characters.

    Only the first run may be empty.
    """
    lengths = [n + (i > 0) for i, n in enumerate(lengths)]
    expected = coco.frPyObjects({"size": [1, sum(lengths)], "counts": lengths}, 1, sum(lengths))["counts"].decode()
    assert compress(np.array(lengths)) == expected


@pytest.mark.parametrize("shape", [(480, 854), (1, 1), (1, 500), (500, 1)])
def test_frames(shape):
    rng = np.random.default_rng(0)
    rough = np.kron(rng.random((shape[0] // 20 + 1, shape[1] // 20 + 1)) < 0.4, np.ones((20, 20)))[: shape[0], : shape[1]] > 0
    for mask in (rough, np.zeros(shape, bool), np.ones(shape, bool), rng.random(shape) < 0.5):
        found = encode(mask)
        assert found["counts"].encode() == coco.encode(np.asfortranarray(mask, np.uint8))["counts"]
        np.testing.assert_array_equal(coco.decode(found), mask)
