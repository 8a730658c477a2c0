"""Files that appear whole or not at all, and foreign errors told in one line."""

import contextlib
import errno
import os
import unicodedata
import uuid
from collections.abc import Iterator
from pathlib import Path

from hmmn_jax.errors import DataError

_LONGEST_NAME = 240  # bytes of a name, so that suffixes fit into the 255 that file systems allow
_WAYS_OUT = {
    errno.ENOSPC: "free some space, or write elsewhere",
    errno.EDQUOT: "free some space, or write elsewhere",
    errno.EISDIR: "choose the name of a file",
    errno.ENAMETOOLONG: "choose a shorter name",
}


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Gives a temporary path beside `path`, for the body to write to; it takes the name `path` when the body succeeds.

    Makes the folder where it is missing. Whatever fails, nothing is left behind and an older file at `path` stays as it was.
    Raises DataError where the body, which should do nothing but write, meets an OSError.
    """
    with writing_errors(path):
        temporary = part_path(path)
        try:
            yield temporary
            os.replace(temporary, path)
        finally:
            discard(temporary)


def part_path(path: str | os.PathLike) -> Path:
    """Names a hidden temporary file beside `path`, with its suffix, and makes the folder that both lie in."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".{uuid.uuid4().hex[:12]}.part{path.suffix}")


def discard(path: Path) -> None:
    """Removes a file if it is there and can be removed."""
    with contextlib.suppress(OSError):
        path.unlink()


@contextlib.contextmanager
def writing_errors(path: str | os.PathLike) -> Iterator[None]:
    """Turns an OSError met while writing `path` into a DataError."""
    try:
        yield
    except OSError as error:
        way_out = _WAYS_OUT.get(error.errno or 0, "choose a place that can be written to")
        raise DataError(f"{path}: cannot be written: {reason(error)}; {way_out}") from error


def user_path(text: str | os.PathLike) -> Path:
    """A path as a user gives it, with `~` expanded. Raises DataError for the home of an unknown user."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise DataError(f"{text}: {reason(error)}; give the whole path") from error


def check_name(name: str, source: str | os.PathLike) -> str:
    """Gives the name of a sequence back if it can name a file or folder in an output folder.

    Raises:
        DataError: the name is empty, "." or "..", absolute, holds a separator or a control character, or has more than 240
            bytes. `source` is named as the place where it was found.
    """
    if name in ("", ".", "..") or not {"/", "\\"}.isdisjoint(name) or any(ord(c) < 32 or ord(c) == 127 for c in name):
        raise DataError(f"{source}: {name[:80]!r} cannot name a sequence: expected a name without separators; rename it")
    if (length := len(name.encode("utf-8", "replace"))) > _LONGEST_NAME:
        found = f"{name[:80]!r}... has {length} bytes, too many for files named after it"
        raise DataError(f"{str(source)[:200]}: {found}: expected at most {_LONGEST_NAME}; rename it")
    return name


def reason(error: BaseException) -> str:
    """Gives the gist of a foreign error on one line: the last line of its text, printable and not endless."""
    text = getattr(error, "strerror", None) or str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [type(error).__name__]
    line = "".join(c if c.isprintable() else " " for c in lines[-1])
    return line if len(line) <= 200 else f"{line[:200]}..."


def contents(folder: Path) -> str:
    """Says in a few words what lies in the nearest folder at or above `folder` that exists, for error messages."""
    nearest = next((place for place in (folder, *folder.absolute().parents) if os.path.isdir(place)), Path("/"))
    try:
        names = sorted(entry.name for entry in nearest.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        return f"{nearest} cannot be listed ({reason(error)})"
    return f"{nearest} holds {shortlist(names)}"


def shortlist(names: list[str]) -> str:
    """Gives the first eight names and the number of the others."""
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(names[:8]) + more if names else "nothing"


def same_name(text: str) -> str:
    """The form in which names of files are compared: composed (NFC), which macOS and others store decomposed."""
    return unicodedata.normalize("NFC", text)
