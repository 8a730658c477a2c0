"""Temporary folders for generated files."""

import shutil
import tempfile
from pathlib import Path

import pytest


@pytest.fixture
def world():
    """Yields new empty folders with short names."""
    made = []

    def new():
        made.append(Path(tempfile.mkdtemp()))
        return made[-1]

    yield new
    for folder in made:
        shutil.rmtree(folder)
