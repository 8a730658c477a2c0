"""A folder of videos for the tests of evaluations."""

import pytest

from tests.evaluation.harness import (
    discs,
    save_video,
)


@pytest.fixture
def own(tmp_path):
    """Two annotated videos of two objects."""
    frames, masks = discs(objects=2)
    for name in ("a", "b"):
        save_video(tmp_path / "in", name, frames, masks)
    return tmp_path / "in"
