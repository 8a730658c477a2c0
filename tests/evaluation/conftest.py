"""Provides a folder of annotated videos to the tests of evaluations."""

import pytest

from tests.evaluation.harness import (
    discs,
    save_video,
)


@pytest.fixture
def own(tmp_path):
    """Writes two annotated videos with two objects each, in the folder layout of the `custom` config."""
    frames, masks = discs(objects=2)
    for name in ("a", "b"):
        save_video(tmp_path / "in", name, frames, masks)
    return tmp_path / "in"
