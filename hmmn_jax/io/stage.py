"""Copies inputs from buckets to local folders. Later runs can reuse the copies."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hmmn_jax.errors import ConfigError, DataError
from hmmn_jax.io.buckets import AnyPath, is_bucket
from hmmn_jax.io.files import bucket_errors, require_space, writing_errors
from hmmn_jax.io.guard import hold_folder
from hmmn_jax.io.notes import note
from hmmn_jax.io.objects import Stored, download, objects, objects_in
from hmmn_jax.io.record import Record, remove_leftovers, require_free, staging_folder

_PART = 1 << 28  # progress is recorded after this many bytes; after a crash, recorded files are not copied again


class Stage:
    """A context manager that copies files and folders from buckets to a local folder.

    The path of a copy is `FOLDER/SCHEME/BUCKET/PATH`. A hidden file next to the copy lists the copied files and their digests
    in the bucket. A later run copies changed files again and checks the SHA-256 of unchanged files. If `folder` is None, copies
    are temporary and are removed on exit.
    """

    def __init__(self, folder: Path | None = None):
        self.folder = folder
        self._temporary = contextlib.ExitStack()

    def __enter__(self) -> "Stage":
        return self

    def __exit__(self, *_: Any) -> None:
        self._temporary.close()

    def fetch(self, path: AnyPath, wanted: Callable[[str], bool] = lambda name: True) -> Path:
        """Returns the local copy of a path in a bucket. Returns a local path unchanged.

        Args:
            path: a file or a folder.
            wanted: a function that takes the relative path of a file in the folder, and returns whether to copy the file.

        Raises:
            DataError: the file or folder does not exist, the bucket cannot be reached, or the copy cannot be written.
        """
        if not is_bucket(path):
            return path
        try:
            with bucket_errors(path):
                single = path.is_file()
                there = objects_in(path.parent) if single else objects(path)
        except OSError as error:
            raise DataError(f"{error.filename or path}: {error.strerror or error}") from error
        there = {name: stored for name, stored in there.items() if not single or name == path.name}
        if not there:
            raise DataError(f"{path}: no such file or folder in the bucket. Check the path")
        source = path.parent if single else path
        if self.folder is None:
            self.folder = Path(self._temporary.enter_context(TemporaryDirectory()))
        copy = self.folder.absolute() / str(source).replace("://", "/")
        with _alone(copy):
            _update(source, copy, there, {name for name in there if wanted(name)}, single)
        return copy / path.name if single else copy


def _update(source: AnyPath, copy: Path, there: Mapping[str, Stored], wanted: set[str], single: bool) -> None:
    """Copies new and changed files, and removes files that are no longer in the bucket."""
    unfinished = copy.with_name(f".{copy.name}.unfinished")
    remove_leftovers(unfinished)
    record = Record.load(copy, copy.with_name(f".{copy.name}.record.json"))
    copied: dict[str, str] = dict((record.about or {}).get("objects", {}))
    if not single and (gone := record.files.keys() - there.keys()):
        record.remove(gone)
    current = record.owned(name for name in wanted if copied.get(name) == there[name].digest)
    missing = sorted(wanted - current)
    if not missing:
        return
    require_free(record, missing)
    total = sum(there[name].size for name in missing)
    with writing_errors(copy):
        copy.mkdir(parents=True, exist_ok=True)
        require_space(copy, total)
    note(f"{source}: {len(missing)} files ({total / 1e6:,.1f} MB) are being copied to {copy}")
    for names in _parts(missing, there):
        with staging_folder(unfinished) as staged:
            with writing_errors(copy), bucket_errors(source):
                download(source, names, staged)
            if short := [name for name in names if (staged / name).stat().st_size != there[name].size]:
                raise DataError(f"{source / short[0]}: the file changed while it was copied. Run the command again")
            copied |= {name: there[name].digest for name in names}
            record.publish(staged, {"objects": copied}, keep=True)


def _parts(names: list[str], there: Mapping[str, Stored]) -> Iterator[list[str]]:
    part: list[str] = []
    size = 0
    for name in names:
        part.append(name)
        size += there[name].size
        if size >= _PART:
            yield part
            part, size = [], 0
    if part:
        yield part


@contextlib.contextmanager
def _alone(copy: Path) -> Iterator[None]:
    """Waits until no other process is copying to the same folder, and locks the folder while the `with` block runs."""
    told = False
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(hold_folder(copy, copy.with_name(f".{copy.name}.lock")))
                break
            except ConfigError:
                if not told:
                    note(f"{copy}: another process is copying to this folder. This process waits until the copy is complete")
                told = True
                time.sleep(1)
        yield
