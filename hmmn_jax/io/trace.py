"""Identity of files, which lets a process recognise files that it wrote or read."""

from pathlib import Path
from typing import NamedTuple


class Trace(NamedTuple):
    """The state of a file at one time. States compare equal until the file is written or replaced. -1: no file.

    Attributes:
        number: inode number of the file.
        size: bytes.
        changed: nanoseconds.
    """

    number: int
    size: int
    changed: int

    @classmethod
    def of(cls, path: Path) -> "Trace":
        """Returns the current trace of a file."""
        try:
            found = path.lstat()
        except OSError:
            return cls(-1, -1, -1)
        return cls(found.st_ino, found.st_size, found.st_mtime_ns)
