"""Creates local copies of files and folders in buckets, for libraries that only read local paths."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from hmmn_jax.io.buckets import AnyPath, is_bucket
from hmmn_jax.io.files import bucket_errors
from hmmn_jax.io.objects import download, objects


@contextlib.contextmanager
def local_copy(path: AnyPath) -> Iterator[Path]:
    """Yields `path` itself if it is local. Otherwise, yields a temporary copy and removes it on exit.

    The copy of a folder contains all files, but no empty folders. Raises OSError if the bucket cannot be read or the disk is
    full.
    """
    if not is_bucket(path):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        with bucket_errors(path):
            if path.is_dir():
                copy.mkdir()
                download(path, objects(path), copy)
            else:
                copy.write_bytes(path.read_bytes())
        yield copy
