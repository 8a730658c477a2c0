"""Provides frames, servers and clients for the tests of the HTTP API."""

import pytest

from tests.paint.harness import Gated, Page, make_frames, serving


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    return make_frames(tmp_path_factory.mktemp("video") / "pond")


@pytest.fixture(scope="module")
def shared(tmp_path_factory, frames):
    """Yields a client of a project with one object. Tests must not change the project, because they share it."""
    with serving(tmp_path_factory.mktemp("shared") / "project", frames) as server:
        page = Page(server.url)
        page.add("koi")
        yield page


@pytest.fixture
def served(tmp_path, frames):
    """Yields the server of a new project. Its segmenter computes each frame only when the test allows it."""
    segmenter = Gated()
    with serving(tmp_path / "project", frames, segmenter) as server:
        server.segmenter, server.folder = segmenter, tmp_path / "project"
        yield server


@pytest.fixture
def page(served):
    return Page(served.url)
