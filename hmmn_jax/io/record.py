"""Records the files that this package writes, so that a later run can distinguish these files from a user's files.

A record is a JSON file with the name and SHA-256 of each file of a result, such as a checkpoint or an export. The record is
written before the files are published, so that even after a crash, every published file is in a record. A file is replaced or
deleted only if its SHA-256 is in a record; any other file is assumed to belong to the user.
"""

import contextlib
import errno
import hashlib
import itertools
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from hmmn_jax.errors import DataError
from hmmn_jax.io.buckets import AnyPath, is_bucket
from hmmn_jax.io.files import bucket_errors, discard, discard_empty, part_path, reason, write_file, writing_errors
from hmmn_jax.io.objects import at_once, digests, objects, objects_in, remove, upload

FORMAT = 1
_CHUNK = 1 << 20  # bytes


@dataclass
class Record:
    """The record of one result. The files are local or in a bucket.

    Attributes:
        root: the folder with the files.
        path: path of the record itself.
        files: the possible SHA-256 digests of each file, by its path relative to `root`. A file has two digests while it is
            being replaced with a newer version. In a bucket, the digests include the MD5 that the store lists.
        about: the inputs and settings that the files were made from; None if the record is incomplete.
    """

    root: AnyPath
    path: AnyPath
    files: dict[str, list[str]] = field(default_factory=dict)
    about: dict[str, Any] | None = None

    @classmethod
    def load(cls, root: AnyPath, path: AnyPath) -> "Record":
        """Reads a record. Returns an empty record if the file is missing. Raises DataError if the file is not a record."""
        with bucket_errors(path):
            if not path.is_file():
                return cls(root, path)
        try:
            found = json.loads(path.read_bytes().decode())
            if found["format"] != FORMAT:
                raise ValueError(f"the format is {found['format']}, expected {FORMAT}")
            files = {_inside(name): [str(digest) for digest in digests] for name, digests in found["files"].items()}
            if not isinstance(found["about"], dict | None):
                raise TypeError(f"the entry 'about' has the type {type(found['about']).__name__}, expected an object")
            return cls(root, path, files, found["about"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            found = f"{type(error).__name__}: {reason(error)}"
            raise DataError(f"{path} is not a record of this program ({found}). Choose another output folder") from error

    def owns(self, name: str) -> bool:
        """Whether the file `name` exists and its content matches this record."""
        if is_bucket(self.root):
            return bool(self.owned([name]))
        path = self.root / name
        linked = any(map(Path.is_symlink, [path, *self._folders(name)]))  # the target of a link does not belong to this run
        return name in self.files and path.is_file() and not linked and sha256(path) in self.files[name]

    def owned(self, names: Iterable[str]) -> set[str]:
        """Returns the given files that exist and whose content matches this record."""
        if is_bucket(self.root):
            return {name for name, digest in self._listed(names).items() if digest in self.files.get(name, ())}
        return set(filter(self.owns, names))

    def _listed(self, names: Iterable[str]) -> dict[str, str]:
        """The digests of the given files that exist in the bucket. Each folder is listed once."""
        names = set(names)
        folders = sorted({str(PurePosixPath(name).parent) for name in names})
        with bucket_errors(self.root):
            found = at_once(lambda folder: objects_in(self.root / folder if folder != "." else self.root), folders)
        every = {
            str(PurePosixPath(folder) / name): stored.digest
            for folder, there in zip(folders, found, strict=True)
            for name, stored in there.items()
        }
        return {name: digest for name, digest in every.items() if name in names}

    def foreign(self, names: Iterable[str]) -> list[AnyPath]:
        """Returns the given files that exist and whose content does not match this record."""
        if is_bucket(self.root):
            return [self.root / name for name, digest in self._listed(names).items() if digest not in self.files.get(name, ())]
        foreign: dict[AnyPath, None] = {}  # a file or link at the path of a folder affects many files, but is listed once
        for name in names:
            path = self.root / name
            folders = filter(os.path.lexists, self._folders(name))
            foreign |= {folder: None for folder in folders if folder.is_symlink() or not folder.is_dir()}
            if os.path.lexists(path) and not self.owns(name):
                foreign[path] = None
        return list(foreign)

    def is_whole(self, about: Mapping[str, Any]) -> bool:
        """Whether all files exist, are unchanged, and were made from the inputs and settings `about`."""
        return self.about == json.loads(json.dumps(about)) and self.owned(self.files) == self.files.keys()

    def changed(self) -> list[AnyPath]:
        """The files of this record that exist, but whose content has changed."""
        return self.foreign(self.files)

    def discard(self) -> None:
        """Deletes the files in this record, then the record itself. Modified files are kept."""
        with writing_errors(self.path), bucket_errors(self.path):
            self._delete(self.files)
            self.path.unlink(missing_ok=True)
        self.files, self.about = {}, None

    def remove(self, names: Iterable[str]) -> None:
        """Deletes the given files if they are in this record, and removes them from the record. Modified files are kept."""
        names = set(names)
        with writing_errors(self.path):
            self._delete(names)
        self.files = {name: digests for name, digests in self.files.items() if name not in names}
        self._save(self.about)

    def publish(self, staged: Path, about: Mapping[str, Any], keep: bool = False) -> None:
        """Moves every file under `staged` to the same relative path under `root`, and adds the file to the record.

        Args:
            staged: the folder with the files.
            about: the inputs and settings of the files.
            keep: whether to keep the recorded files that are not replaced. By default, these files are removed.

        Raises:
            DataError: one of the files exists and is not in this record, or writing fails. The record remains valid.
        """
        names = sorted(path.relative_to(staged).as_posix() for path in staged.rglob("*") if path.is_file())
        require_free(self, names)
        new = {name: digests(staged / name) if is_bucket(self.root) else [sha256(staged / name)] for name in names}
        old = self.files
        if keep:
            new |= {name: digests for name, digests in old.items() if name not in new}
        self.files = {name: sorted({*old.get(name, ()), *new.get(name, ())}) for name in old | new}
        self._save(None)
        if is_bucket(self.root):
            with writing_errors(self.root), bucket_errors(self.root):
                upload({self.root / name: staged / name for name in names})
        else:
            for name in names:
                target = self.root / name
                with writing_errors(target):
                    target.parent.mkdir(parents=True, exist_ok=True)
                    move(staged / name, target)
        with writing_errors(self.path):
            self._delete(old.keys() - new.keys())
        self.files = new
        self._save(about)

    def adopt(self, names: Iterable[str], about: Mapping[str, Any] | None) -> None:
        """Records files that were written to `root` without `publish`.

        Call this method with empty `names` before writing the first file. The record then marks the folder as belonging to this
        tool, although no files are listed yet.
        """
        with writing_errors(self.path):
            names = list(names)
            if is_bucket(self.root):
                with bucket_errors(self.root):
                    there = objects(self.root) if names else {}
                self.files = {name: [there[name].digest] for name in names}
            else:
                self.files = {name: [sha256(self.root / name)] for name in names}
        self._save(about)

    def _folders(self, name: str) -> Iterator[Path]:
        """The folders between the root and a file."""
        return itertools.takewhile(lambda folder: folder != self.root, (self.root / name).parents)

    def _save(self, about: Mapping[str, Any] | None) -> None:
        text = json.dumps({"format": FORMAT, "about": about, "files": self.files}, indent=1)
        write_file(self.path, text + "\n")
        self.about = None if about is None else json.loads(json.dumps(about))

    def _delete(self, names: Iterable[str]) -> None:
        """Deletes the given files if they are in this record, and then removes empty folders."""
        if is_bucket(self.root):
            owned = self.owned(names)
            with bucket_errors(self.root):
                remove(self.root / name for name in owned)
            return
        for name in names:
            if self.owns(name):
                (self.root / name).unlink(missing_ok=True)
            for folder in self._folders(name):
                if folder.is_symlink() or not folder.is_dir() or any(folder.iterdir()):
                    break
                folder.rmdir()


def require_free(record: Record, names: Iterable[str]) -> None:
    """Raises DataError if one of the given files exists and does not match the record."""
    if foreign := record.foreign(names):
        more = f" (this also applies to {len(foreign) - 1} more files)" if len(foreign) > 1 else ""
        raise DataError(
            f"{foreign[0]} was not written by this program, or was changed later{more}. Move it elsewhere, or choose another "
            "output folder"
        )


@contextlib.contextmanager
def staging_folder(parent: AnyPath) -> Iterator[Path]:
    """Yields a new, empty local folder and removes it on exit. The folder is in `parent` unless `parent` is in a bucket."""
    if is_bucket(parent):
        with tempfile.TemporaryDirectory() as temporary:
            yield Path(temporary)
        return
    folder = parent / uuid.uuid4().hex
    with writing_errors(folder):
        folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        discard_empty(parent)


def remove_leftovers(parent: AnyPath) -> None:
    """Removes the staging folders of killed processes from `parent`."""
    if is_bucket(parent):
        return
    for folder in parent.glob("*") if parent.is_dir() else ():
        if len(folder.name) == 32 and set(folder.name) <= set("0123456789abcdef"):
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def replace_own(path: Path) -> Iterator[Path]:
    """Yields a temporary path for one file. If the block succeeds, the file is renamed to `path`.

    A hidden record next to `path` marks the file as written by this program, so that a later run can replace it.

    Raises:
        DataError: `path` is a folder or a file that this program did not write, or writing fails.
    """
    if (path := path.absolute()).name in ("", ".."):
        raise DataError(f"{path} is a folder. Pass the name of a file")
    record = Record.load(path.parent, path.with_name(f".{path.name}.record.json"))
    require_free(record, [path.name])
    with writing_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with staging_folder(part_path(path)) as staged:
        with writing_errors(path):
            yield staged / path.name
        record.publish(staged, {})


def move(source: Path, target: Path) -> None:
    """Moves a file to `target` atomically, even between file systems."""
    try:
        os.replace(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        part = part_path(target)
        try:
            shutil.copyfile(source, part)
            os.replace(part, target)
        finally:
            discard(part)


def sha256(path: Path) -> str:
    """The SHA-256 of a file (hexadecimal)."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _inside(name: str) -> str:
    """Returns the path if it is relative and points inside the folder. Otherwise, raises ValueError."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\0" in name:
        raise ValueError(f"the path {name!r} points outside the folder")
    return name
