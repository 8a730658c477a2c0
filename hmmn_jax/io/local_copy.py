"""Local copies of files and folders in buckets, for libraries that read local paths only."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from hmmn_jax.io.buckets import AnyPath, is_bucket
from hmmn_jax.io.files import bucket_errors


@contextlib.contextmanager
def local_copy(path: AnyPath) -> Iterator[Path]:
    """Yields `path` itself if it is local, otherwise a temporary copy, which is removed on exit.

    The copy of a folder contains everything except names that end in `~`, which epath hides. Raises OSError if the
    bucket cannot be read, or the disk is full.
    """
    if not is_bucket(path):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        with bucket_errors(path):
            _download(path, copy)
        yield copy


def _download(path: AnyPath, copy: Path) -> None:
    if not path.is_dir():
        copy.write_bytes(path.read_bytes())
        return
    copy.mkdir()
    for entry in path.iterdir():
        if entry != path:  # stores that represent a folder by an object of its name also list this object
            _download(entry, copy / entry.name)
