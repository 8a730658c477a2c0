"""Stores a session on disk: `session.json`, later changes in `changes.jsonl`, and one file per picture.

Pictures are written before the files that refer to them, and deleted when no file refers to them. `session.json` is
replaced atomically, and a line of `changes.jsonl` is valid only if it ends with a newline. If a process is killed, the folder
therefore contains either the old or the new session.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from hmmn_jax.errors import DataError
from hmmn_jax.io.files import write_file, writing_errors
from hmmn_jax.io.packed import ArrayPool
from hmmn_jax.io.record import replace_own
from hmmn_jax.io.trace import Trace
from hmmn_jax.session.damage import reading
from hmmn_jax.session.pictures import PictureFiles
from hmmn_jax.session.states import KEYS, State, as_state, difference, from_state, pictures, update
from hmmn_jax.session.timeline import Timeline

FORMAT = 1
SESSION, CHANGES, PICTURES = "session.json", "changes.jsonl", "pictures"
_START = f'{{"format": {FORMAT}, "changes_of": "'.encode()
MOST_CHANGES = 1 << 22  # if `changes.jsonl` is larger than this many bytes, `session.json` is replaced


class SessionFolder:
    """The folder of one session. If the folder is unchanged since this process wrote it, `save` writes only the changes."""

    def __init__(self, path: Path, size: tuple[int, int]):
        """Stores the arguments without accessing the folder. `size` is the height and width of the frames."""
        self.path, self._size = path, size
        self._file, self._changes = path / SESSION, path / CHANGES
        self._pictures = PictureFiles(path / PICTURES)
        self._timeline: Timeline | None = None  # the content of the folder; None if unknown to this process
        self._left: tuple[Trace, Trace] | None = None  # the `Trace` of each file after this process wrote it

    def save(self, timeline: Timeline) -> None:
        """Writes a timeline atomically.

        Raises:
            DataError: the folder contains other files, or writing fails.
        """
        old = self._timeline if self._left == self._look() else None
        self._timeline = None  # unknown until everything has been written
        if old is None or self._look()[1].size > MOST_CHANGES:
            self._write(timeline)
        else:
            self._append(old, timeline)
        self._timeline, self._left = timeline, self._look()

    def load(self, pool: ArrayPool) -> Timeline:
        """Reads the timeline. Raises DataError for missing or damaged files."""
        state, size = self._read()
        if size != self._size:
            expected = f"the video has {self._size[1]}x{self._size[0]}. Pass the video of the saved session."
            raise DataError(f"{self._file}: the frames of the session have {size[1]}x{size[0]} pixels, but {expected}")
        with reading(self._file):
            return from_state(state, lambda name, ids: self._pictures.read(name, ids, pool, size))

    def _write(self, timeline: Timeline) -> None:
        """Writes the pictures of a timeline, and replaces `session.json` and `changes.jsonl`."""
        with writing_errors(self.path):
            is_new = not self._file.is_file() and self.path.is_dir()
            foreign = [path for path in self.path.iterdir() if _is_foreign(path)] if is_new else []
        if foreign:
            raise DataError(f"{foreign[0]} is not part of a session. Pass a new or empty folder, or the folder of a session.")
        if self._file.is_file():
            self._read()  # raises DataError for a damaged file, so that the file is not replaced
        new = {self._pictures.write(picture) for picture in pictures(timeline)}
        text = json.dumps({"format": FORMAT, "size": self._size, **as_state(timeline)}, indent=1) + "\n"
        with replace_own(self._file) as temporary:
            write_file(temporary, text)
        write_file(self._changes, _header(text.encode()))
        for name in self._pictures.names() - new:
            self._pictures.delete(name)

    def _append(self, old: Timeline, new: Timeline) -> None:
        """Appends the changes to `changes.jsonl`."""
        change = difference(old, new)
        if not any(change.values()):
            return
        for picture in pictures(new, change):
            self._pictures.write(picture)
        _append_line(self._changes, change)
        if dropped := {picture.content for picture in pictures(old, change)}:
            for name in dropped - {picture.content for picture in pictures(new)}:
                self._pictures.delete(name)

    def _read(self) -> tuple[State, tuple[int, int]]:
        """The state in `session.json` and `changes.jsonl`, and the size of the frames. Raises DataError for damaged files."""
        with reading(self._file):
            content = self._file.read_bytes()
            found = json.loads(content.decode())
            if found["format"] != FORMAT:
                raise ValueError(f"format is {found['format']}, expected {FORMAT}")
            height, width = found["size"]
            if not (isinstance(height, int) and isinstance(width, int)):
                raise TypeError("size must consist of two integers")
            state = {key: dict(found[key]) for key in KEYS}
        with reading(self._changes):
            header = _header(content)
            lines = self._changes.read_bytes() if self._changes.is_file() else b""
            if lines and not lines.startswith(_START):
                raise ValueError("the file does not begin with the expected header")
            if lines.startswith(header):  # otherwise, the changes apply to an older `session.json`
                whole, _, _ = lines[len(header) :].rpartition(b"\n")  # the last line is incomplete if a process was killed
                for line in whole.splitlines():
                    update(state, json.loads(line))
        return state, (height, width)

    def _look(self) -> tuple[Trace, Trace]:
        return Trace.of(self._file), Trace.of(self._changes)


def _header(content: bytes) -> bytes:
    """The first line of `changes.jsonl`. The line identifies the `session.json` to which the changes apply."""
    return _START + hashlib.sha256(content).hexdigest().encode() + b'"}\n'


def _append_line(path: Path, found: Any) -> None:
    """Appends a line atomically. Raises DataError if writing fails."""
    line = json.dumps(found, separators=(",", ":")).encode() + b"\n"
    with writing_errors(path), path.open("r+b", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        try:
            if file.write(line) != len(line):
                raise OSError("only part of the line was written")
        except BaseException:
            file.truncate(size)
            raise


def _is_foreign(path: Path) -> bool:
    return path.name != PICTURES and not path.name.startswith(".")
