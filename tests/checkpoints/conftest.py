"""A checkpoint folder for the tests of checkpoints."""

import pytest

from hmmn_jax.checkpoints.store import save_checkpoint
from tests.small import SMALL, variables


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A checkpoint folder. Copy it before changing it."""
    path = tmp_path_factory.mktemp("saved") / "OUT"
    save_checkpoint(path, variables(), SMALL)
    return path
