"""Tests that the printed address accepts connections."""

import socket
from urllib.parse import urlsplit

from hmmn_jax.paint.server import open_page
from tests.paint.harness import make_frames
from tests.session.stub import Stub


def test_a_browser_that_comes_before_the_server_has_started_waits(tmp_path):
    frames = make_frames(tmp_path / "film")
    with open_page(tmp_path / "project", frames, lambda _: Stub(), "stub", "127.0.0.1", 0) as server:
        address = urlsplit(server.url)
        socket.create_connection((address.hostname, address.port), timeout=20).close()
