"""Provides a checkpoint folder for the tests in this folder."""

import pytest

from hmmn_jax.checkpoints.store import save_checkpoint
from tests.small import SMALL, variables


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Returns a checkpoint folder that all tests of a module share. Copy the folder before changing it."""
    path = tmp_path_factory.mktemp("saved") / "OUT"
    save_checkpoint(path, variables(), SMALL)
    return path
