"""`Trace`: recognises a file that was not changed since this process wrote or read it."""

from pathlib import Path
from typing import NamedTuple


class Trace(NamedTuple):
    """A file at one time. Equal if the file was neither written to nor replaced since. -1: no such file.

    Attributes:
        number: of the file in its file system.
        size: bytes.
        changed: nanoseconds.
    """

    number: int
    size: int
    changed: int

    @classmethod
    def of(cls, path: Path) -> "Trace":
        """Looks at a file."""
        try:
            found = path.lstat()
        except OSError:
            return cls(-1, -1, -1)
        return cls(found.st_ino, found.st_size, found.st_mtime_ns)
