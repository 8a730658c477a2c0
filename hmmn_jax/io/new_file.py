"""Files that are new: written whole or not at all, and never in the place of another."""

import contextlib
import errno
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from hmmn_jax.io.files import discard

EXISTS = "exists already; remove it or choose another name"


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Gives a temporary path beside `path`, which takes that name when the body succeeds.

    Raises:
        FileExistsError: there is a file by then, which stays as it is.
    """
    temporary = path.with_name(f".{uuid.uuid4().hex[:12]}.part{path.suffix}")
    try:
        yield temporary
        publish_new(temporary, path)
    finally:
        discard(temporary)


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


def free_path(path: Path) -> Path:
    """`path` if nothing is there, else with -1, -2, ... before its suffix."""
    found, number = path, 0
    while os.path.lexists(found):
        number += 1
        found = path.with_stem(f"{path.stem}-{number}")
    return found
