"""Provides local folders for libraries that cannot write to buckets, and uploads the files in these folders."""

import time
from pathlib import Path
from tempfile import TemporaryDirectory

from hmmn_jax.io.buckets import AnyPath, is_bucket
from hmmn_jax.io.files import bucket_errors, writing_errors
from hmmn_jax.io.objects import upload

UPLOAD_SECONDS = 30.0  # minimum number of seconds between two uploads


class UploadedFolder:
    """A folder to which libraries write files and append data. For a bucket, the files are uploaded from a local folder.

    Each upload replaces the whole file, because objects in a bucket do not support appending. `changed` uploads at most
    every 30 seconds. `flush` uploads immediately.

    Attributes:
        local: the folder to write to.
    """

    def __init__(self, folder: AnyPath):
        """Creates the local folder."""
        self._folder, self._temporary = folder, TemporaryDirectory() if is_bucket(folder) else None
        self.local: Path = folder if self._temporary is None else Path(self._temporary.name)
        self._uploaded: dict[str, int] = {}  # size of each file at its last upload
        self._time = time.monotonic()
        with writing_errors(folder):
            self.local.mkdir(parents=True, exist_ok=True)

    def changed(self) -> None:
        """Uploads files, but at most every 30 seconds. Call this method after writing a file. Raises DataError on failure."""
        if self._temporary is not None and time.monotonic() - self._time >= UPLOAD_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Uploads new files and files whose size has changed. Raises DataError on failure."""
        if self._temporary is None:
            return
        sizes = {path.relative_to(self.local).as_posix(): path.stat().st_size for path in self._files()}
        names = [name for name, size in sizes.items() if self._uploaded.get(name) != size]
        with writing_errors(self._folder), bucket_errors(self._folder):
            upload({self._folder / name: self.local / name for name in names})
        self._uploaded, self._time = sizes, time.monotonic()

    def close(self) -> None:
        """Uploads the remaining files and removes the temporary folder. Raises DataError if an upload fails."""
        try:
            self.flush()
        finally:
            if self._temporary is not None:
                self._temporary.cleanup()

    def _files(self) -> list[Path]:
        return [path for path in self.local.rglob("*") if path.is_file()]
