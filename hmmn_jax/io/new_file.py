"""Creates new files and folders atomically and never replaces existing ones."""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from hmmn_jax.io.buckets import AnyPath, file_system, is_bucket
from hmmn_jax.io.files import discard, lies_there, part_path, write_file

EXISTS = "exists already; remove it or choose another name"


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Gives a temporary path beside `path`, which takes that name when the body succeeds.

    Raises:
        FileExistsError: the file exists when the body ends; it is unchanged.
    """
    temporary = part_path(path)
    try:
        yield temporary
        publish_new(temporary, path)
    finally:
        discard(temporary)


def write_new_file(path: AnyPath, content: bytes) -> None:
    """Writes a file that does not exist yet, atomically. In a bucket, the check and the writing are two requests.

    Raises:
        FileExistsError: there is one.
        DataError, OSError: it cannot be written.
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
    """Gives a new empty folder beside `path`, which takes that name when the body succeeds, and else is removed.

    Raises:
        FileExistsError: the path exists already.
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
    """Moves a file or folder into a folder, which is made where it is missing; it gets another name if its own is taken.

    In a bucket, all objects are copied and then removed. Raises any kind of error there.
    """
    target = free_path(folder / path.name)
    if is_bucket(path):
        file_system(path).mv(str(path), str(target), recursive=True)
    else:
        folder.mkdir(exist_ok=True)
        path.rename(target)


def publish_new(temporary: Path, path: Path) -> None:
    """Gives a file its name, unless that is taken. Raises FileExistsError."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise FileExistsError(errno.EEXIST, EXISTS, str(path)) from None
    except OSError:  # a file system without hard links
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, EXISTS, str(path)) from None
        os.rename(temporary, path)


def free_path(path: AnyPath) -> AnyPath:
    """`path` if it does not exist, else with -1, -2, ... before its suffix."""
    found, number = path, 0
    while lies_there(found):
        number += 1
        found = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return found
