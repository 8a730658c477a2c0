"""An in-memory bucket that serves `gs://` during a test, without a network and without gcsfs."""

import contextlib
import logging

from etils.epath import backend
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import _registry


class MemoryBucket(MemoryFileSystem):
    """Stores objects in memory by path. Folders exist only as prefixes of object names."""

    protocol = ("gs", "gcs")
    store = {}  # noqa: RUF012 (not shared with the base class)
    pseudo_dirs = [""]  # noqa: RUF012

    @classmethod
    def _strip_protocol(cls, path):
        return "/" + path.removeprefix("gs://").strip("/")


class UnreachableBucket(MemoryBucket):
    """Raises an error if objects are listed or read. Real bucket clients raise errors of many types, not only OSError."""

    def info(self, path, **_):
        logging.getLogger("gcsfs").error("out of retries")
        raise self.error

    error = RuntimeError("Anonymous caller does not have access\nto anything")

    exists = isdir = ls = _open = info


@contextlib.contextmanager
def serving(monkeypatch, kind=MemoryBucket):
    """Serves `gs://` from memory inside the block, and yields the file system."""
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
