"""Lists the contents of a folder: the files to read, and the reason why each of the other entries is skipped."""

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from hmmn_jax.errors import DataError
from hmmn_jax.io.files import contents, reason
from hmmn_jax.io.notes import Notes

LEFT_OUT = "some files are skipped"
UNREAD = "images in an unsupported format"
# Suffixes of unsupported image formats that a user may expect to be supported.
UNREAD_SUFFIXES = frozenset(
    (
        ".apng",
        ".arw",
        ".avif",
        ".cr2",
        ".cr3",
        ".dcm",
        ".dds",
        ".dng",
        ".dpx",
        ".eps",
        ".exr",
        ".gif",
        ".hdr",
        ".heic",
        ".heif",
        ".ico",
        ".j2k",
        ".jfif",
        ".jp2",
        ".jpe",
        ".jpf",
        ".jpx",
        ".jxl",
        ".jxr",
        ".nef",
        ".npy",
        ".orf",
        ".pbm",
        ".pcx",
        ".pfm",
        ".pnm",
        ".psd",
        ".raf",
        ".raw",
        ".rw2",
        ".sgi",
        ".svg",
        ".tga",
        ".xcf",
    )
)


@dataclass
class Entries:
    """The entries of a folder, sorted by name.

    Attributes:
        folder: the folder that contains the entries.
        files: files to read.
        left_out: skipped entries, by reason.
    """

    folder: Path
    files: list[Path] = field(default_factory=list)
    left_out: dict[str, list[Path]] = field(default_factory=dict)

    def leave_out(self, paths: list[Path], reason: str) -> None:
        """Moves files from `files` to `left_out`, under the given reason."""
        if paths:
            gone = frozenset(paths)
            self.files = [path for path in self.files if path not in gone]
            self.left_out.setdefault(reason, []).extend(paths)

    def tell(self, notes: Notes) -> None:
        """Adds a note about each skipped entry."""
        for kind, paths in self.left_out.items():
            for path in paths:
                notes.add(LEFT_OUT, kind, str(path))

    def unread(self) -> str:
        """Returns how many images have an unsupported format, by suffix, such as "2 .heic"; "" if all images are read."""
        suffixes = [path.suffix.lower() for path in self.left_out.get(UNREAD, ())]
        return ", ".join(f"{suffixes.count(suffix)} {suffix}" for suffix in dict.fromkeys(suffixes))


def list_entries(folder: Path, suffixes: frozenset[str], others: str) -> Entries:
    """Lists the files to read in a folder, and the skipped entries.

    Args:
        folder: the folder to list.
        suffixes: suffixes of the files to read, in lower case.
        others: the reason for skipping files with other suffixes, such as "files other than images".

    Raises:
        DataError: the folder does not exist or cannot be listed, or a file to read is a broken link or cannot be accessed.
    """
    if not os.path.isdir(folder):
        raise DataError(f"{folder}: {_no_folder(folder)}. Pass a folder of images")
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder}: the folder cannot be listed: {reason(error)}. Check its permissions") from error
    entries, unreachable = Entries(folder), []
    for path in paths:
        kind = _reason_to_leave_out(path, suffixes, others)
        if kind == _UNREACHABLE and path.suffix.lower() in suffixes:
            unreachable.append(path)
        elif kind:
            entries.left_out.setdefault(kind, []).append(path)
        else:
            entries.files.append(path)
    if unreachable:
        count = f"{len(unreachable)} of {len(unreachable) + len(entries.files)} files"
        way_out = "Restore these files, or remove them"
        raise DataError(f"{unreachable[0]}: {describe_missing(unreachable[0])}. {count} cannot be accessed. {way_out}")
    return entries


def describe_missing(path: Path) -> str:
    """Returns the reason why a path cannot be accessed."""
    try:
        if path.is_symlink():
            return f"the path is a link to {os.readlink(path)}, which does not exist"
        path.stat()
    except (OSError, ValueError) as error:
        return f"the path cannot be accessed: {reason(error)}"
    return "the path cannot be accessed"


_UNREACHABLE = "links without a target"


def _reason_to_leave_out(path: Path, suffixes: frozenset[str], others: str) -> str | None:
    if path.name.startswith("."):
        return "hidden"
    try:
        mode = path.stat().st_mode
    except OSError:
        return _UNREACHABLE
    if stat.S_ISDIR(mode):
        return "folders"
    if not stat.S_ISREG(mode):
        return "files of a special type"
    suffix = path.suffix.lower()
    if suffix in suffixes:
        return None
    return UNREAD if suffix in UNREAD_SUFFIXES else others


def _no_folder(folder: Path) -> str:
    if os.path.isfile(folder):
        return "the path is a file, not a folder"
    if os.path.islink(folder):
        return describe_missing(folder)
    return f"no such folder. {contents(folder)}"
