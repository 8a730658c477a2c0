"""By what a process knows again the files that it wrote or read."""

from pathlib import Path
from typing import NamedTuple


class Trace(NamedTuple):
    """A file at one time: equal for a file that nobody has written to or replaced since. -1: there is none.

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
