"""Provides temporary folders for generated files."""

import shutil
import tempfile
from pathlib import Path

import pytest


@pytest.fixture
def world():
    """Yields a function that creates empty folders with short names. The folders are removed after the test."""
    made = []

    def new():
        made.append(Path(tempfile.mkdtemp()))
        return made[-1]

    yield new
    for folder in made:
        shutil.rmtree(folder)
