"""Fixtures that open the page in Chromium.

A test fails if the page logs an error or a warning, or sends a request to another host.
"""

import contextlib
import shutil
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import sync_playwright

from tests.browser.driver import PATIENCE, Driver
from tests.browser.serving import PatientStub, film, served


def pytest_collection_modifyitems(items):
    """Adds the marker `browser` to all tests in this folder."""
    for item in items:
        if "tests/browser/" in item.path.as_posix():
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def chromium():
    """Starts the installed Chromium or Chrome once for all tests, and yields the browser."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert path, "no Chromium: apt-get install chromium (on GitHub's machines there is google-chrome)"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium):
    """Yields a function that opens a URL and returns a `Driver` of the new page. `scale` is the device pixel ratio."""
    complaints, contexts = [], []

    def watch(page, host):
        page.on("console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))

        def asked(request):
            if urlsplit(request.url).scheme in ("http", "https") and urlsplit(request.url).netloc != host:
                complaints.append(f"asked {request.url}")

        page.on("request", asked)

    def open_page(url, scale=1, size=(1100, 760), context=None, **options):
        if context is None:
            viewport = {"width": size[0], "height": size[1]}
            context = chromium.new_context(viewport=viewport, device_scale_factor=scale, **options)
            context.set_default_timeout(1000 * PATIENCE)
            contexts.append(context)
        page = context.new_page()
        watch(page, urlsplit(url).netloc)
        page.goto(url)
        return Driver(page, complaints)

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def segmenter():
    """Returns a segmenter that the test can block."""
    return PatientStub()


@pytest.fixture
def serve(tmp_path, segmenter):
    """Yields a function that creates a video of the given shape, serves it as a new project, and returns the URL."""
    with contextlib.ExitStack() as stack:

        def start(**shape):
            film(tmp_path / "film", **shape)
            return stack.enter_context(served(tmp_path / "project", tmp_path / "film", segmenter))

        yield start


@pytest.fixture
def open_film(serve, visit):
    """Returns a function that opens a new project in the browser. No frame of the project is annotated."""

    def start(shape=None, **options):
        return visit(serve(**(shape or {})), **options)

    return start
