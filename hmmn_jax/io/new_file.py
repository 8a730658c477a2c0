"""Creates new files and folders atomically, without replacing existing ones."""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from hmmn_jax.io.buckets import AnyPath, file_system, is_bucket
from hmmn_jax.io.files import discard, lies_there, part_path, write_file

EXISTS = "already exists. Remove it or choose another name"


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yields a temporary path in the folder of `path`. If the body succeeds, the temporary file is renamed to `path`.

    Raises:
        FileExistsError: a file exists at `path` when the body ends. The existing file is left unchanged.
    """
    temporary = part_path(path)
    try:
        yield temporary
        publish_new(temporary, path)
    finally:
        discard(temporary)


def write_new_file(path: AnyPath, content: bytes) -> None:
    """Atomically writes a new file. In a bucket, the check for an existing file and the upload are separate requests.

    Raises:
        FileExistsError: the file exists.
        DataError, OSError: the file cannot be written.
    """
    if is_bucket(path):
        if lies_there(path):
            raise FileExistsError(errno.EEXIST, EXISTS, str(path))
        write_file(path, content)
    else:
        with new_file(path) as temporary:
            temporary.write_bytes(content)


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yields a new, empty folder. If the body succeeds, the folder is renamed to `path`. Otherwise, the folder is removed.

    Raises:
        FileExistsError: the path already exists.
    """
    if lies_there(path):
        raise FileExistsError(errno.EEXIST, EXISTS, str(path))
    partial = part_path(path)
    try:
        partial.mkdir(parents=True)
        yield partial
        partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def move_into(path: AnyPath, folder: AnyPath) -> None:
    """Moves `path` into `folder`. If `folder` already contains an entry with the same name, a number is added.

    Creates `folder` if it does not exist. In a bucket, all objects are copied before the originals are removed. Clients
    of buckets can raise any exception.
    """
    target = free_path(folder / path.name)
    if is_bucket(path):
        file_system(path).mv(str(path), str(target), recursive=True)
    else:
        folder.mkdir(exist_ok=True)
        path.rename(target)


def publish_new(temporary: Path, path: Path) -> None:
    """Renames a file to `path`. Raises FileExistsError if `path` exists."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise FileExistsError(errno.EEXIST, EXISTS, str(path)) from None
    except OSError:  # the file system does not support hard links
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, EXISTS, str(path)) from None
        os.rename(temporary, path)


def free_path(path: AnyPath) -> AnyPath:
    """Returns `path` if it does not exist.

    Otherwise, inserts -1, -2, ... before the suffix of `path`, and returns the first path that does not exist.
    """
    found, number = path, 0
    while lies_there(found):
        number += 1
        found = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return found
