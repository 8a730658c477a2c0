"""Guards an output folder, so that only one process, the owner, uses the folder at a time.

Guards are used for training workdirs, projects of `hmmn-jax paint`, evaluation outputs and data set builds. A guard uses two
files:

LOCK        an empty file that the owner locks; the operating system releases the lock when the process ends
.LOCK.json  the owner file: the owner's host, boot id and process id; the owner updates it every five seconds, as a heartbeat

The lock excludes other processes on the same machine. Heartbeats are used in buckets, and in network file systems that do not
support locks between machines. If the owner was a process on this machine and has ended, another process can take over the
folder immediately. If the owner is on another machine, another process can take over the folder once the last heartbeat is
older than `DEAD_AFTER`. A former owner that is still running detects the new owner and stops writing.
"""

import contextlib
import errno
import json
import os
import platform
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from hmmn_jax.errors import ConfigError, DataError
from hmmn_jax.io.buckets import AnyPath, is_bucket
from hmmn_jax.io.files import bucket_errors, discard, lies_there, part_path, write_file, writing_errors
from hmmn_jax.io.notes import note

try:
    import fcntl
except ModuleNotFoundError:  # Windows does not have this module
    fcntl = None  # type: ignore[assignment]  # mypy treats the name as a module
    import msvcrt

# seconds between two heartbeats, and seconds without a heartbeat after which an owner on another machine is considered dead
BEAT, DEAD_AFTER = 5.0, 60.0
RUN_LOCK = "record/lock"  # path of the lock file inside workdirs and evaluation outputs
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_UNLOCKABLE = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}  # errors on file systems that do not support locks
WAY_OUT = "Wait until that process ends, or choose another folder. If that process has already ended, pass --takeover"


class Guard:
    """A guard of one folder, created by `hold_folder`.

    This process owns the folder until `end` is called or another process takes over.

    Attributes:
        folder: the guarded folder.
        owner: the content of the owner file.
    """

    def __init__(self, folder: AnyPath, path: AnyPath):
        self.folder, self._path = folder, path
        self.owner: dict[str, Any] = {**this_machine(), "id": uuid.uuid4().hex}
        self._lost: dict[str, Any] | None = None
        self._ended = threading.Event()

    def require(self) -> None:
        """Raises ConfigError if another process has taken over the folder. Call this method before writing."""
        if self._lost is not None:
            found = f"the folder was taken over by {_name(self._lost)}"
            raise ConfigError(f"{self.folder}: {found}. This process no longer writes to the folder")

    def begin(self) -> None:
        """Writes the owner file, and updates it until `end` is called."""
        self._write()
        _held.append(self)
        threading.Thread(target=self._beat, name="guard", daemon=True).start()

    def end(self) -> None:
        """Stops updating the owner file, and removes the file if it still belongs to this owner."""
        self._ended.set()
        if self in _held:
            _held.remove(self)
            if self._is_own():
                discard(self._path)

    def _write(self) -> None:
        write_file(self._path, json.dumps(self.owner | {"time": time.time()}) + "\n")

    def _beat(self) -> None:
        while not self._ended.wait(BEAT):
            with contextlib.suppress(OSError, DataError):  # for example, the network is temporarily unavailable
                if not self._is_own():
                    return
                if is_bucket(self._path):
                    self._write()
                else:
                    os.utime(self._path)

    def _is_own(self) -> bool:
        found = read_owner(self._path)
        if found is not None and found["id"] != self.owner["id"]:
            self._lost = found
        return found is not None and self._lost is None


_held: list[Guard] = []  # the active guards of this process


def release_all() -> None:
    """Releases all folders that this process owns. Call this function before `os._exit`, which does not exit `with` blocks."""
    for guard in list(_held):
        guard.end()


def release_of(lock: AnyPath, pid: int) -> None:
    """Releases the folder of the lock file `lock` if process `pid` on this machine owned the folder.

    Process `pid` must have ended.
    """
    owner = read_owner(owner_path(lock))
    if owner is not None and owner["pid"] == pid and same_machine(owner, this_machine()):
        discard(owner_path(lock))


@contextlib.contextmanager
def hold_folder(folder: AnyPath, lock: AnyPath, takeover: bool = False, way_out: str = WAY_OUT) -> Iterator[Guard]:
    """Makes this process the owner of a folder while the block runs.

    Args:
        folder: the folder to show in messages.
        lock: path of the lock file. The file is created if it does not exist, and is never removed.
        takeover: whether to take over the folder even from a process that appears to be running.
        way_out: instructions for the user, at the end of the error message if the folder is in use.

    Raises:
        ConfigError: another process owns the folder.
        DataError: the folder is not writable, or the existing owner file was not written by this program.
    """
    path, locks = owner_path(lock), False
    with contextlib.ExitStack() as held:
        if not is_bucket(lock):
            with writing_errors(lock):
                lock.parent.mkdir(parents=True, exist_ok=True)
                found = _locked(lock)
                if found is None and takeover:
                    found = _locked(_fresh(lock))
            if found is None:
                raise _in_use(folder, path, way_out)
            file, locks = found
            held.enter_context(file)
        owner = _require_ours(path)
        if owner is not None and not takeover and _may_live(owner, path, locks):
            raise _in_use(folder, path, way_out)
        if owner is not None and takeover:
            note(f"{folder}: the folder was taken over from {_name(owner)}")
        guard = Guard(folder, path)
        guard.begin()
        try:
            yield guard
        finally:
            guard.end()


def require_unheld(folder: AnyPath, lock: AnyPath, way_out: str = WAY_OUT) -> None:
    """Raises ConfigError if a process owns the folder. Does not change the folder."""
    path, locks = owner_path(lock), False
    if not is_bucket(lock):
        with contextlib.suppress(OSError), lock.open("r+b") as file:
            held = _try_lock(file)
            if held is False:
                raise _in_use(folder, path, way_out)
            locks = held is True
    owner = read_owner(path)
    if owner is not None and _may_live(owner, path, locks):
        raise _in_use(folder, path, way_out)


def owner_path(lock: AnyPath) -> AnyPath:
    """The path of the owner file."""
    return lock.parent / f".{lock.name}.json"


def read_owner(path: AnyPath) -> dict[str, Any] | None:
    """The content of an owner file; None if the file is missing or invalid."""
    try:
        with bucket_errors(path):
            found = json.loads(path.read_bytes().decode())
        owner = {"host": str(found["host"])[:200], "boot": str(found["boot"]), "pid": int(found["pid"])}
        return owner | {"id": str(found["id"]), "time": float(found["time"])}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def same_machine(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two owners ran on the same machine without a reboot in between.

    Compares boot ids, or host names if the boot ids are unknown.
    """
    return one["boot"] == other["boot"] and (bool(one["boot"]) or one["host"] == other["host"])


def this_machine() -> dict[str, Any]:
    """The host, boot id and process id of this process, in the format of an owner file."""
    boot = ""
    with contextlib.suppress(OSError):
        boot = _BOOT_ID.read_text(encoding="ascii").strip()
    return {"host": platform.node(), "boot": boot, "pid": os.getpid()}


def _name(owner: dict[str, Any]) -> str:
    return f"process {owner['pid']} on {owner['host']}"


def _in_use(folder: AnyPath, path: AnyPath, way_out: str) -> ConfigError:
    owner = read_owner(path)
    by = _name(owner) if owner else "another process"
    if owner and not same_machine(owner, this_machine()):
        age = max(_age(owner, path), 0)
        by += (
            f", whose last heartbeat was {age:.0f} s ago. "
            f"A process is considered dead after {DEAD_AFTER:.0f} s without a heartbeat"
        )
    return ConfigError(f"{folder}: the folder is in use by {by}. {way_out}")


def _require_ours(path: AnyPath) -> dict[str, Any] | None:
    """Reads the owner file, if it exists. Raises DataError for a file that this program did not write."""
    found = read_owner(path)
    if found is None and lies_there(path) and (not path.is_file() or path.read_bytes().strip(b"\0 \n")):
        raise DataError(f"{path} was not written by this program. Move it elsewhere, or choose another folder")
    return found


def _may_live(owner: dict[str, Any], path: AnyPath, locks: bool) -> bool:
    """Whether an owner may still be running.

    Args:
        owner: the last owner of the folder.
        path: path of the owner file.
        locks: whether this process has locked the folder. If True, an owner on this machine cannot be running.
    """
    here = this_machine()
    if same_machine(owner, here) and (locks or owner["pid"] == here["pid"] or not _is_running(owner["pid"])):
        return False
    return _age(owner, path) < DEAD_AFTER


def _age(owner: dict[str, Any], path: AnyPath) -> float:
    """Seconds since the last heartbeat.

    The time is measured by the clock of the file system. In a bucket, the clocks of the owner and of this process are compared.
    """
    if is_bucket(path):
        return time.time() - owner["time"]
    probe = part_path(path)
    try:
        probe.touch()
        return probe.stat().st_mtime - path.stat().st_mtime
    except FileNotFoundError:  # the owner has just removed the file
        return DEAD_AFTER
    except OSError:  # the folder is not writable
        return time.time() - owner["time"]
    finally:
        discard(probe)


def _is_running(pid: int) -> bool:
    if fcntl is None:
        return True  # on Windows, signal 0 would be Ctrl-C
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _locked(lock: Path) -> tuple[IO[bytes], bool] | None:
    """Opens and locks the lock file. Returns the file, and whether the file system supports locks.

    Returns None if another process holds the lock.
    """
    for last in (False, True):
        file = lock.open("ab")
        held = _try_lock(file)
        # After a takeover, the path refers to a new lock file, not to the opened file.
        if held is not False and os.path.samestat(os.fstat(file.fileno()), os.stat(lock)):
            return file, held is True
        file.close()
        if not last:
            time.sleep(0.2)  # another process may have locked the file briefly to check whether the folder is in use
    return None


def _fresh(lock: Path) -> Path:
    """Replaces a lock file that another process has locked. Raises DataError for a file that is not a lock file."""
    if lock.stat().st_size:
        raise DataError(f"{lock} was not written by this program. Move it elsewhere, or choose another folder")
    new = part_path(lock)
    new.touch()
    os.replace(new, lock)
    return lock


def _try_lock(file: IO[bytes]) -> bool | None:
    """Locks a file. Returns False if another process holds the lock, or None if the file system does not support locks."""
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    except OSError as error:
        return None if error.errno in _UNLOCKABLE else False
    return True
