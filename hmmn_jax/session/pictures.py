"""Reads and writes the masks and probabilities of a saved session.

A picture contains the mask and the probabilities of one frame. Each picture is stored in one file. The file name is a digest of
the picture's content.
"""

import contextlib
import io
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hmmn_jax.errors import DataError
from hmmn_jax.io.files import discard, write_file, writing_errors
from hmmn_jax.io.packed import ArrayPool
from hmmn_jax.io.trace import Trace
from hmmn_jax.session.damage import as_id, reading
from hmmn_jax.session.picture import Picture

_NAME = re.compile(r"[0-9a-f]{64}")
_FAST = 1  # compression level; compressing a 480p frame takes a few milliseconds


class PictureFiles:
    """The picture folder of one session. Files that this process wrote or read are recognised by their `Trace`."""

    def __init__(self, folder: Path):
        """Stores the path of the folder without accessing it."""
        self.folder = folder
        self._traces: dict[str, Trace] = {}

    def names(self) -> set[str]:
        """The names of all files in the folder that may be pictures."""
        return {path.stem for path in self.folder.glob("*.npz") if _NAME.fullmatch(path.stem)}

    def write(self, picture: Picture) -> str:
        """Writes a picture, unless it already exists, and returns its name. Raises DataError if writing fails."""
        name = picture.content
        path = self._path(name)
        if self._is_left(name) or (path.is_file() and self._holds(name)):
            return name
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=_FAST) as archive:
            for key, array in (("channel", picture.channel.unpack()), ("levels", picture.levels.unpack())):
                with archive.open(f"{key}.npy", "w") as file:
                    np.lib.format.write_array(file, array, allow_pickle=False)
        with writing_errors(path):
            self.folder.mkdir(parents=True, exist_ok=True)
        write_file(path, content.getvalue())
        self._traces[name] = Trace.of(path)
        return name

    def read(self, name: str, names: Sequence[int], pool: ArrayPool, size: tuple[int, int]) -> Picture:
        """Reads a picture, given its size (height, width) and the ids of its channels. Raises DataError for a damaged file."""
        path = self._path(name)
        with reading(path):
            ids = tuple(as_id(k, 0) for k in names)
            channel, levels = _read_arrays(path)
            dtype = np.uint8 if len(ids) < 256 else np.uint16
            if channel.shape != size or channel.dtype != dtype or channel.max() > len(ids):
                raise ValueError(
                    f"channel is {channel.dtype} {list(channel.shape)}, expected {np.dtype(dtype)} {list(size)}, "
                    "with no value above the number of ids"
                )
            if levels.shape != (len(ids), *size) or levels.dtype != np.uint8:
                raise ValueError(f"levels is {levels.dtype} {list(levels.shape)}, expected uint8 {[len(ids), *size]}")
            picture = Picture(ids, pool.pack(channel), pool.pack(levels))
            if picture.content != name:
                raise ValueError("the content of the file does not match the file name")
            self._traces[name] = Trace.of(path)
            return picture

    def delete(self, name: str) -> None:
        """Deletes a picture if the content of the file matches the file name."""
        if self._is_left(name) or self._holds(name):
            discard(self._path(name))
        self._traces.pop(name, None)

    def _path(self, name: str) -> Path:
        """The path of a picture.

        Raises ValueError for an invalid name. Names are read from files, so an invalid name could refer to a file outside the
        folder.
        """
        if not _NAME.fullmatch(name):
            raise ValueError(f"the picture name is {name!r}, expected 64 hexadecimal digits in lower case")
        return self.folder / f"{name}.npz"

    def _is_left(self, name: str) -> bool:
        """Whether the file is unchanged since this process last wrote or read the file."""
        return name in self._traces and self._traces[name] == Trace.of(self._path(name))

    def _holds(self, name: str) -> bool:
        """Whether the content of the file matches the file name."""
        pool = ArrayPool()
        with contextlib.suppress(DataError), reading(path := self._path(name)):
            channel, levels = _read_arrays(path)
            return Picture((), pool.pack(channel), pool.pack(levels)).content == name
        return False


def _read_arrays(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
        return arrays["channel"], arrays["levels"]
