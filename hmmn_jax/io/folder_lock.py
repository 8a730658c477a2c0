"""A lock on an output folder, held by one process at a time and released by the system when that process ends."""

import contextlib
from collections.abc import Iterator
from typing import IO

from hmmn_jax.errors import ConfigError
from hmmn_jax.io.buckets import AnyPath, is_bucket
from hmmn_jax.io.files import writing_errors

try:
    import fcntl
except ModuleNotFoundError:  # Windows
    fcntl = None  # type: ignore[assignment]  # mypy takes the name for a module
    import msvcrt


@contextlib.contextmanager
def lock_folder(path: AnyPath, folder: AnyPath) -> Iterator[None]:
    """Holds the lock file `path` of an output folder while the block runs. The empty file is not removed.

    Raises:
        ConfigError: another process holds it.
        DataError: the file cannot be made.
    """
    if is_bucket(path):
        yield
        return
    with writing_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    with file:
        try:
            _acquire(file)
        except OSError as error:
            raise ConfigError(f"{folder}: another run is writing to it; wait for it, or choose another folder") from error
        yield


def _acquire(file: IO) -> None:
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    else:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
