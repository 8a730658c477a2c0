"""Helpers for tests that train a tiny model: the batches, and a bitwise comparison of results."""

import itertools

import jax
import numpy as np

from tests.training.tiny_run import tiny_batch

STEPS = 8


def batches(first_step):
    return (tiny_batch(step) for step in itertools.count(first_step))


def assert_same(found, expected):
    for (path, a), b in zip(jax.tree.leaves_with_path(found), jax.tree.leaves(expected), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes(), jax.tree_util.keystr(path)
