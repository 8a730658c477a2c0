"""Creates and cleans the folder for compiled programs inside the user's cache folder."""

import hashlib
import importlib.metadata
import os
import platform
import re
import time
from pathlib import Path

import platformdirs

from hmmn_jax.io.files import discard, discard_empty
from hmmn_jax.io.notes import note

UNUSED_DAYS = 30  # programs for other versions of JAX or other processors are deleted after this many days without use
_NOT_CACHED = "Compiled programs are not cached. To use another folder, set --compilation_cache"


def own_folder() -> Path | None:
    """Creates the folder for programs compiled by this version of JAX for this processor, in the user's cache folder.

    Compiled programs are executable code, so only the user may have write access to the folder. If the folder is unsafe or
    cannot be created, a note is printed.

    Returns:
        The folder, or None if it cannot be used.
    """
    programs = platformdirs.user_cache_path("hmmn-jax", appauthor=False) / "programs"
    folder = programs / _key()
    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        for path in (programs.parent, programs, folder):
            if reason := _unsafe(path):
                note(f"{path}: {reason}. {_NOT_CACHED}")
                return None
        os.utime(folder)
        _delete_unused(programs)
    except OSError as error:
        note(f"{folder}: {error.strerror}. {_NOT_CACHED}")
        return None
    return folder


def _key() -> str:
    """A hash of the version of JAX and the processor's instruction sets. Compiled programs depend on both."""
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("jax", "jaxlib")]
    processor = [platform.system(), platform.machine(), platform.processor()]
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        processor += sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))})
    except OSError:
        pass  # the file exists only on Linux
    return hashlib.sha256("\n".join(versions + processor).encode()).hexdigest()[:16]


def _unsafe(folder: Path) -> str:
    """The reason why programs in a folder cannot be trusted; "" if they can be trusted."""
    if not hasattr(os, "getuid"):  # on Windows, the folder is in the user's profile
        return ""
    found = folder.stat()
    if found.st_uid != os.getuid():
        return f"the folder belongs to user {found.st_uid}, not to user {os.getuid()}"
    if found.st_mode & 0o022:
        return f"other users can write to the folder (mode {found.st_mode & 0o777:o}). Run chmod go-w to change the mode"
    return ""


def _delete_unused(programs: Path) -> None:
    """Deletes unused programs for other versions of JAX and other processors. Only deletes files that JAX's cache creates."""
    oldest = time.time() - UNUSED_DAYS * 24 * 3600
    for folder in programs.iterdir():
        ours = re.fullmatch("[0-9a-f]{16}", folder.name) and folder.is_dir() and not folder.is_symlink()
        if ours and folder.stat().st_mtime < oldest:
            for file in folder.iterdir():
                if file.name == ".lockfile" or file.name.endswith(("-cache", "-atime")):
                    discard(file)
            discard_empty(folder)
