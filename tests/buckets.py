"""An in-memory bucket, `gs://...` during a test, without network and gcsfs."""

import contextlib
import logging

from etils.epath import backend
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import _registry


class MemoryBucket(MemoryFileSystem):
    """Objects by path, as in a bucket. Folders are prefixes of their names."""

    protocol = ("gs", "gcs")
    store = {}  # noqa: RUF012 (as of the class above, of which this is to be apart)
    pseudo_dirs = [""]  # noqa: RUF012

    @classmethod
    def _strip_protocol(cls, path):
        return "/" + path.removeprefix("gs://").strip("/")


class UnreachableBucket(MemoryBucket):
    """Fails like clients, with other types of errors."""

    def info(self, path, **_):
        logging.getLogger("gcsfs").error("out of retries")
        raise self.error

    error = RuntimeError("Anonymous caller does not have access\nto anything")

    exists = isdir = ls = _open = info


@contextlib.contextmanager
def serving(monkeypatch, kind=MemoryBucket):
    """Yields the file system of `gs://` in the block."""
    cached = type(backend.fsspec_backend)._get_filesystem
    for scheme in kind.protocol:
        monkeypatch.setitem(_registry, scheme, kind)
    cached.cache_clear()
    try:
        yield kind()
    finally:
        kind.store.clear()
        kind.pseudo_dirs[:] = [""]
        cached.cache_clear()
