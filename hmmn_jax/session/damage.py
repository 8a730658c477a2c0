"""Errors of the files of a saved session, which may be damaged in any way."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hmmn_jax.errors import DataError, HMMNError
from hmmn_jax.io.files import reason


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns any error of a missing or damaged file into a DataError that names it."""
    try:
        yield
    except HMMNError:
        raise
    except Exception as error:  # zip files, arrays and JSON have errors of many kinds
        found = f"{type(error).__name__}: {reason(error)}"
        raise DataError(f"{path}: not of a session, or damaged ({found}); give a folder that `save` wrote") from error


def as_id(found: Any, least: int = 1) -> int:
    """An id of an object as it was saved. Raises ValueError for what cannot be one."""
    if not least <= (k := int(found)) < 2**16:
        raise ValueError(f"the id {k}, expected one from {least} to {2**16 - 1}")
    return k
