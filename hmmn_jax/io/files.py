"""Reads and atomically writes files, locally or in buckets, and shortens other libraries' error messages to one line."""

import contextlib
import errno
import logging
import os
import shutil
import tempfile
import unicodedata
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Literal, overload

from hmmn_jax.errors import DataError, HMMNError
from hmmn_jax.io.buckets import AnyPath, as_path, is_bucket, package_of, require_client

# maximum length of a sequence name in bytes; file systems allow 255 bytes for a file name, including suffixes
_LONGEST_NAME = 240
_WAYS_OUT = {
    errno.ENOSPC: "Free some space, or write to another disk",
    errno.EDQUOT: "Free some space, or write to another disk",
    errno.EISDIR: "Choose a path that is not a folder",
    errno.ENAMETOOLONG: "Choose a shorter name",
}


@overload
def user_path(text: str | os.PathLike, *, buckets: Literal[False] = False) -> Path: ...


@overload
def user_path(text: str | os.PathLike, *, buckets: bool) -> AnyPath: ...


def user_path(text: str | os.PathLike, *, buckets: bool = False) -> AnyPath:
    """Converts a path that the user specified, and expands `~`.

    All paths in flags, config fields and arguments of the Python API are converted with this function.

    Args:
        text: the path, or the URL of a file or folder in a bucket.
        buckets: whether the caller supports buckets. Locks, links, video files and the renaming of folders require local paths.

    Returns:
        A `pathlib.Path`, or an `epath.Path` for a path in a bucket.

    Raises:
        DataError: the user after `~` is unknown, the URL has an unsupported scheme, or the path is in a bucket and `buckets` is
            False.
    """
    path = as_path(text) if buckets else local_path(text)
    if is_bucket(path):
        require_client(path)
        return path
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise DataError(f"{text}: the path cannot be expanded ({reason(error)}). Pass the full path") from error


def local_path(text: str | os.PathLike) -> Path:
    """Converts text to a local path, without expanding `~`.

    Raises DataError for a URL with an unsupported scheme, and for a path in a bucket.
    """
    path = as_path(text)
    if is_bucket(path):
        raise DataError(f"{path}: the path is in a bucket. Pass a local path, for example in a mounted bucket")
    return path


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a local temporary path to write to. If the block succeeds, the file is moved to `path`.

    Creates the parent folder if it does not exist. If the block fails, the temporary file is removed, and an existing file at
    `path` is unchanged. The block should only write the file, because any OSError in the block is converted to a DataError.
    """
    target = as_path(path)
    with writing_errors(path):
        if is_bucket(target):
            require_client(target)
            with tempfile.TemporaryDirectory() as folder:
                temporary = Path(folder) / target.name
                yield temporary
                with bucket_errors(target):
                    target.write_bytes(temporary.read_bytes())  # uploads are atomic and replace an existing object
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = part_path(target)
        try:
            yield temporary
            os.replace(temporary, target)
        finally:
            discard(temporary)


def write_file(path: str | os.PathLike, content: bytes | str) -> None:
    """Writes a file atomically, and replaces an existing file. Encodes text as UTF-8. Raises DataError on failure."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def open_log(path: Path) -> IO[bytes]:
    """Opens a local file for unbuffered appending."""
    return path.open("ab", buffering=0)


def read_start(path: AnyPath, count: int) -> bytes:
    """Reads the first `count` bytes of a file, or the whole file if it is shorter."""
    with path.open("rb") as file:
        return file.read(count)


def lies_there(path: AnyPath) -> bool:
    """Returns whether a path exists as a file, a folder or a link (even a broken link)."""
    with bucket_errors(path):
        return path.exists() if is_bucket(path) else os.path.lexists(path)


def is_link(path: AnyPath) -> bool:
    """Returns whether a path is a symbolic link. Buckets do not have symbolic links."""
    return not is_bucket(path) and path.is_symlink()


def part_path(path: AnyPath) -> AnyPath:
    """Returns the path of a hidden temporary file that is next to `path` and has the same suffix."""
    return path.with_name(f".{uuid.uuid4().hex[:12]}.part{path.suffix}")


def discard(path: AnyPath) -> None:
    """Removes a file if it exists and can be removed."""
    with contextlib.suppress(OSError), bucket_errors(path):
        path.unlink()


def discard_empty(folder: Path) -> None:
    """Removes a local folder if it exists, is empty, and can be removed."""
    with contextlib.suppress(OSError):
        folder.rmdir()


def free_bytes(folder: AnyPath) -> int | None:
    """Returns the number of free bytes on the disk that contains a folder, or None for a bucket, which has no limit."""
    return None if is_bucket(folder) else shutil.disk_usage(folder).free


def require_space(folder: AnyPath, needed: int) -> None:
    """Raises OSError if the disk that contains `folder` has fewer than `needed` free bytes.

    Without this check, Orbax would fail with many long tracebacks.
    """
    free = free_bytes(folder)
    if free is not None and free < needed:
        raise OSError(errno.ENOSPC, f"{needed:,} bytes are required, but only {free:,} are free")


@contextlib.contextmanager
def bucket_errors(path: AnyPath) -> Iterator[None]:
    """Converts exceptions from a bucket's client to OSErrors. Does nothing for a local path."""
    if not is_bucket(path):
        yield
        return
    logger = logging.getLogger(package_of(path))
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # otherwise, the client would also log tracebacks of the exceptions
    try:
        yield
    except HMMNError:
        raise
    except Exception as error:  # each client raises its own exception types
        if isinstance(error, FileNotFoundError):  # the original message is only the path of the file or the bucket
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path)) from error
        if isinstance(error, OSError) and type(error).__module__ == "builtins":  # other error types are network errors
            raise
        found = f"the bucket cannot be reached ({type(error).__name__}: {reason(error)})"
        raise OSError(
            errno.EIO, f"{found}. Check the name of the bucket, your credentials and the network", str(path)
        ) from error
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def writing_errors(path: str | os.PathLike) -> Iterator[None]:
    """Raises DataError instead of any OSError that occurs while `path` is being written."""
    try:
        yield
    except OSError as error:
        way_out = _WAYS_OUT.get(error.errno or 0, "Choose a writable location")
        raise DataError(f"{path} cannot be written: {reason(error)}. {way_out}") from error


def check_name(name: str, source: str | os.PathLike) -> str:
    """Checks that the name of a sequence is a valid name for a file or folder, and returns the name.

    Args:
        name: the name of the sequence.
        source: the file or folder to show in the error message.

    Raises:
        DataError: the name is empty, "." or "..", contains a separator or a control character, or is longer than 240 bytes.
    """
    if name in ("", ".", "..") or not {"/", "\\"}.isdisjoint(name) or any(ord(c) < 32 or ord(c) == 127 for c in name):
        found = f"{name[:80]!r} is not a valid sequence name, expected a name without separators"
        raise DataError(f"{source}: {found}. Rename the sequence")
    if (length := len(name.encode("utf-8", "replace"))) > _LONGEST_NAME:
        found = f"the name {name[:80]!r}... has {length} bytes, expected at most {_LONGEST_NAME}"
        raise DataError(f"{str(source)[:200]}: {found}. Rename the sequence")
    return name


def reason(error: BaseException, line: int = -1) -> str:
    """Shortens the message of another library's error to one printable line.

    Args:
        error: an exception that another library raised.
        line: the index of the line to use; by default, the last line. Use 0 for errors from Orbax and TensorStore, because
            their first line is the most useful.
    """
    text = getattr(error, "strerror", None) or str(error)
    lines = [part.strip() for part in text.splitlines() if part.strip()] or [type(error).__name__]
    return shorten(lines[line])


def shorten(found: object) -> str:
    """Shortens text from files or other libraries to one line without control characters."""
    text = str(found) or type(found).__name__
    text = " ".join("".join(c if c.isprintable() else " " for c in text[:2000]).split())
    return text if len(text) <= 200 else f"{text[:200]}..."


def contents(folder: Path) -> str:
    """Returns text for error messages that lists the contents of `folder`, or of its nearest parent folder that exists."""
    nearest = next((place for place in (folder, *folder.absolute().parents) if os.path.isdir(place)), Path("/"))
    try:
        names = sorted(entry.name for entry in nearest.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        return f"{nearest} cannot be listed ({reason(error)})"
    return f"{nearest} contains {shortlist(names)}"


def shortlist(names: list[str]) -> str:
    """Returns text that lists the first eight names and the number of remaining names."""
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(names[:8]) + more if names else "nothing"


def same_name(text: str) -> str:
    """Converts a file name to composed Unicode (NFC) for comparison. macOS, for example, stores decomposed names."""
    return unicodedata.normalize("NFC", text)
