"""Reads JSON files and lists that describe a data set."""

import json
from pathlib import Path
from typing import Any

from hmmn_jax.errors import DataError
from hmmn_jax.io.files import reason


def read_meta(path: Path) -> Any:
    """Reads a JSON file. Raises DataError if the file cannot be read or has duplicate keys."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_without_doubles)
    except _Twice as error:
        raise DataError(f"{path}: {error}. Copy the file again") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"{path} cannot be read: {reason(error)}. Copy the file again") from error


def read_lines(path: Path) -> list[str]:
    """Reads a text file with one name per line, and removes surrounding spaces and empty lines.

    Raises DataError if the file cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} cannot be read: {reason(error)}. The file must be a text file with one name per line"
        ) from error
    return [name for line in lines if (name := line.strip())]


class _Twice(ValueError):
    """A duplicate key in a JSON object. By default, Python keeps only the last value of a duplicate key."""


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _Twice(f"the entry {key[:80]!r} occurs twice")
        found[key] = value
    return found
