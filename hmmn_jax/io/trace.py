"""Records the state of a file, so that a process can detect whether the file has changed since the process used it."""

from pathlib import Path
from typing import NamedTuple


class Trace(NamedTuple):
    """The state of a file at one point in time. Writing or replacing a file changes its state.

    All attributes are -1 if there is no file.

    Attributes:
        number: inode number of the file.
        size: size in bytes.
        changed: time of the last modification, in nanoseconds.
    """

    number: int
    size: int
    changed: int

    @classmethod
    def of(cls, path: Path) -> "Trace":
        """Returns the current state of a file."""
        try:
            found = path.lstat()
        except OSError:
            return cls(-1, -1, -1)
        return cls(found.st_ino, found.st_size, found.st_mtime_ns)
