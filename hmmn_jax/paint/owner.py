"""Who has the folder of a project open: one process at a time.

On one machine a lock of the system decides, which ends with its process, however that ends. Folders on a network are not locked
reliably between machines; there a file that its owner renews says that the folder is in use.
"""

import contextlib
import json
import os
import platform
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hmmn_jax.errors import ConfigError, DataError
from hmmn_jax.io.files import discard, lies_there, part_path, write_file, writing_errors
from hmmn_jax.io.folder_lock import lock_folder

LOCK, OWNER = "lock", ".owner.json"
BEAT, DEAD_AFTER = 5.0, 30.0  # seconds between two signs of life, and without one
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@contextlib.contextmanager
def own_folder(folder: Path) -> Iterator[None]:
    """Has the folder of a project for this process while the block runs.

    Raises:
        ConfigError: another process has it, on this machine or, by the signs of life it gives, on another one.
        DataError: the folder cannot be written to, or has a file of that name which this program did not write.
    """
    path, me = folder / OWNER, _me()
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(lock_folder(folder / LOCK, folder))
        except ConfigError as error:
            owner = _read(path)
            by = f"process {owner['pid']}" if owner else "another process"
            raise ConfigError(f"{folder}: is open in {by}; close that, or choose another folder with --project") from error
        owner = _read(path)
        if owner is None and lies_there(path) and not (path.is_file() and path.stat().st_size == 0):
            raise DataError(f"{path}: not a file of hmmn-jax paint; move it, or choose another folder with --project")
        if owner is not None and _is_elsewhere(owner, me) and _age(path) < DEAD_AFTER:
            place = f"process {owner['pid']} on {owner['host']}"
            way_out = f"close that, or wait {DEAD_AFTER:.0f} seconds if it was killed"
            raise ConfigError(f"{folder}: is open in {place}; {way_out}")
        write_file(path, json.dumps(me) + "\n")
        ended = threading.Event()
        threading.Thread(target=_beat, args=(path, ended), name="owner", daemon=True).start()
        try:
            yield
        finally:
            ended.set()
            if _read(path) == me:  # else another machine took this process for dead, and has the folder now
                discard(path)


def _me() -> dict[str, Any]:
    boot = ""
    with contextlib.suppress(OSError):
        boot = _BOOT_ID.read_text(encoding="ascii").strip()
    return {"host": platform.node(), "boot": boot, "pid": os.getpid()}


def _read(path: Path) -> dict[str, Any] | None:
    """What an owner wrote; None without one, or for a file that says nothing."""
    try:
        found = json.loads(path.read_bytes().decode())
        return {"host": str(found["host"])[:200], "boot": str(found["boot"]), "pid": int(found["pid"])}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _is_elsewhere(owner: dict[str, Any], me: dict[str, Any]) -> bool:
    """Whether the owner may live although this machine's lock is free: on another machine."""
    return owner["host"] != me["host"] and not (me["boot"] and owner["boot"] == me["boot"])


def _age(path: Path) -> float:
    """Seconds since the last sign of life, by the clock of the file system, which may be another machine's."""
    probe = part_path(path)
    with writing_errors(path.parent):
        try:
            probe.touch()
            return probe.stat().st_mtime - path.stat().st_mtime
        finally:
            discard(probe)


def _beat(path: Path, ended: threading.Event) -> None:
    while not ended.wait(BEAT):
        with contextlib.suppress(OSError):
            os.utime(path)
