"""Handles errors caused by damaged files of a saved session."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hmmn_jax.errors import DataError, HMMNError
from hmmn_jax.io.files import reason


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Converts any error caused by a missing or damaged file to a DataError that names the file."""
    try:
        yield
    except HMMNError:
        raise
    except Exception as error:  # damaged zip files, arrays and JSON raise many exception types
        found = f"{type(error).__name__}: {reason(error)}"
        raise DataError(
            f"{path}: the file is not a session file, or is damaged ({found}). Pass a folder that `Session.save` wrote."
        ) from error


def as_id(found: Any, least: int = 1) -> int:
    """Converts a saved object id to an integer. Raises ValueError if the id is invalid."""
    if not least <= (k := int(found)) < 2**16:
        raise ValueError(f"the object id is {k}, expected an id from {least} to {2**16 - 1}")
    return k
