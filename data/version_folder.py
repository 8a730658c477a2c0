"""The folder of one version of a built data set, and the rules for replacing its files.

A record in the folder lists the files of the build with their SHA-256 digests. Files that are not in the record, or that were
modified after the build, are never replaced or deleted. The first build creates the folder atomically. A later build replaces
the files one by one. Until all files are replaced, the record marks the folder as incomplete.
"""

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hmmn_jax.errors import DataError
from hmmn_jax.io.buckets import AnyPath
from hmmn_jax.io.files import writing_errors
from hmmn_jax.io.record import Record, require_free

_RECORD, _MARK = "record.json", ".unfinished-build"


def load_record(version: AnyPath) -> Record:
    """Reads the record of a built data set. If the file is missing, the record is empty.

    Raises DataError if the file is not the record of a build.
    """
    record = Record.load(version, version / _RECORD)
    about: Any = {} if record.about is None else record.about  # the file can have any content
    splits = about.get("splits", []) if isinstance(about, dict) else None
    if not isinstance(splits, list) or not all(isinstance(split, str) for split in splits):
        raise DataError(
            f"{record.path} is not the record of a build, because it has no list of splits. Restore this file, or remove "
            "its folder."
        )
    return record


def was_cut_off(record: Record) -> bool:
    """Returns whether a build was interrupted while replacing the files of an earlier build."""
    return record.path.is_file() and record.about is None


def require_replaceable(record: Record, names: Iterable[str], overwrite: bool) -> None:
    """Checks that a build may write the files `names` into the folder of `record` and replace an earlier build.

    Raises:
        DataError: a finished build exists and `overwrite` is false, the folder contains files but no record, the path of
            the folder is a file or a link to an empty folder, or an output would replace a file that is not in the record.
    """
    version = record.root
    if os.path.lexists(version) and not version.is_dir():
        raise DataError(f"{version} is a file, expected the folder of a data set. Move the file elsewhere.")
    if version.is_symlink() and not _has_files(version):
        raise DataError(f"{version} is a link to an empty folder, expected the folder of a data set. Remove the link.")
    if _has_files(version) and not record.path.is_file():
        raise DataError(
            f"{version} contains files, but no {_RECORD}, which lists the files of a build. Older versions "
            "of hmmn-jax did not write this list. Build under another name with --as, or remove this folder."
        )
    if record.about is not None and not overwrite:
        raise DataError(f"{version} already exists. Pass --overwrite to rebuild the data set.")
    require_free(record, {*record.files, *names})


def publish(record: Record, built: Path, about: Mapping[str, Any]) -> None:
    """Moves a finished build into its folder, and deletes the files of an earlier build that were not replaced.

    Raises DataError if writing fails.
    """
    version = record.root
    if _has_files(version):
        record.publish(built, about)
        return
    whole = built.with_name(f"{built.name}-whole")
    Record(whole, whole / _RECORD).publish(built, about)
    with writing_errors(version):
        version.parent.mkdir(parents=True, exist_ok=True)
        os.replace(whole, version)


@contextlib.contextmanager
def work_folder(path: Path) -> Iterator[Path]:
    """Creates a folder for a build and yields its path. The folder is removed on exit or, after a crash, by the next build.

    Raises:
        DataError: the path exists and is not the folder of an unfinished build, or the folder cannot be created.
    """
    _remove(path)
    with writing_errors(path):
        path.mkdir(parents=True)
        (path / _MARK).touch()
    try:
        yield path
    finally:
        with contextlib.suppress(DataError):
            _remove(path)


def _has_files(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _remove(path: Path) -> None:
    if not os.path.lexists(path):
        return
    if path.is_symlink() or not path.is_dir() or (_has_files(path) and not (path / _MARK).is_file()):
        raise DataError(
            f"{path} exists, but is not the folder of an unfinished build, because it does not contain {_MARK}. Move the file "
            "or folder elsewhere."
        )
    with writing_errors(path):
        for entry in path.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry.name != _MARK:
                entry.unlink()
        (path / _MARK).unlink(missing_ok=True)  # removed last, so that the marker file still exists after a crash
        path.rmdir()
