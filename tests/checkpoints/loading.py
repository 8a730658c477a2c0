"""Checks loaded variables, and the error message if a checkpoint cannot be loaded."""

import jax
import numpy as np
import pytest

from hmmn_jax.checkpoints.store import load_checkpoint
from hmmn_jax.errors import CheckpointError


def refusal(path, kind=CheckpointError):
    """Returns the error message for a checkpoint that cannot be loaded. The message must contain the path."""
    with pytest.raises(kind) as caught:
        load_checkpoint(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def assert_equal(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert type(a) is np.ndarray
        assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, np.asarray(b).tobytes())
