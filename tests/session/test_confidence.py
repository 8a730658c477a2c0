"""Compares the confidence and the next frame to annotate with results computed by hand."""

import math

import numpy as np
import pytest

from hmmn_jax.session.confidence import agreement, expected_j, most_doubtful

MASK = np.array([[1, 1, 0, 5]], np.uint8)


def test_expected_j_of_soft_masks():
    p = np.array([[[0.9, 0.7, 0.4, 0.0]], [[0.0, 0.2, 0.3, 1.0]], [[0.1, 0.0, 0.0, 0.0]]], np.float32)
    found = expected_j(MASK, (1, 5, 8), p)
    assert found == pytest.approx({1: 1.6 / 2.4, 5: 1.0 / 1.5})  # object 8 has no pixels


def test_certain_masks_are_trusted():
    p = np.stack([MASK == 1, MASK == 5]).astype(np.float32)
    assert expected_j(MASK, (1, 5), p) == {1: 1.0, 5: 1.0}


@pytest.mark.parametrize(("u", "expected"), [(0.5, 1 / 3), (0.25, 2 / 3), (0.75, 2 / 3), (0.0, 1.0)])
def test_disagreement_counts_most_in_the_middle(u, expected):
    forward, backward = np.array([[1.0, 1.0, 0.0]]), np.array([[0.0, 1.0, 1.0]])
    assert agreement(u, forward, backward) == pytest.approx(expected)
    assert agreement(u, forward, forward) == agreement(u, 0 * forward, 0 * forward) == 1


def test_the_least_confidence_then_the_farthest_then_the_first():
    assert most_doubtful({3: [0.9, 0.2], 4: [0.5, 0.7]}, [0], 9) == 3
    assert most_doubtful({3: [0.6], 4: [math.nan]}, [0], 9) == 4  # an absent object (NaN) has confidence 0.5
    assert most_doubtful({3: [0.4], 4: [math.nan], 5: []}, [0], 9) == 3
    assert most_doubtful({t: [0.5] for t in (1, 2, 3, 4, 5)}, [0, 6], 7) == 3
    assert most_doubtful({}, [2], 6) == 5
    assert most_doubtful({}, [], 6) == 0
    assert most_doubtful({}, [0, 1], 2) is None
