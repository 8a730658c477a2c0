"""A guard for an output folder: only one process holds the folder at a time.

Used for workdirs of training, projects of `hmmn-jax paint`, outputs of evaluations and builds of data sets. The files are:

LOCK          empty; locked by the operating system, which releases the lock whenever the process ends
.LOCK.json the owner: host, boot id, process id. Its modification time is the owner's last heartbeat, every five seconds

On one machine, the lock is used. Some network file systems do not lock between machines, and buckets never do; then heartbeats
are used. A folder is taken over immediately from a process of this machine that has ended, and from another machine if the last
heartbeat is older than `DEAD_AFTER`. A former owner that is alive detects the new owner and stops writing.
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
except ModuleNotFoundError:  # Windows
    fcntl = None  # type: ignore[assignment]  # mypy takes the name for a module
    import msvcrt

BEAT, DEAD_AFTER = (
    5.0,
    60.0,
)  # seconds between two heartbeats, and seconds without one after which an owner on another machine is considered dead
RUN_LOCK = "record/lock"  # name of the lock in workdirs and in outputs of evaluations
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_UNLOCKABLE = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}  # errors that file systems without locks raise
WAY_OUT = "wait for it, choose another folder, or pass --takeover if that process has ended"


class Guard:
    """Returned by `hold_folder`. This process holds the folder until it calls `end` or another process takes the folder over.

    Attributes:
        folder: the folder.
        owner: the content of the owner's file.
    """

    def __init__(self, folder: AnyPath, path: AnyPath):
        self.folder, self._path = folder, path
        self.owner: dict[str, Any] = {**this_machine(), "id": uuid.uuid4().hex}
        self._lost: dict[str, Any] | None = None
        self._ended = threading.Event()

    def require(self) -> None:
        """Raises ConfigError if another process took the folder over. Call it before writing."""
        if self._lost is not None:
            raise ConfigError(
                f"{self.folder}: was taken over by {_name(self._lost)}; this process will not write to it any further"
            )

    def begin(self) -> None:
        """Writes the owner's file, and updates it until `end`."""
        self._write()
        _held.append(self)
        threading.Thread(target=self._beat, name="guard", daemon=True).start()

    def end(self) -> None:
        """Removes the owner's file, if it still belongs to this owner."""
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


_held: list[Guard] = []  # the holds of this process


def release_all() -> None:
    """Releases all folders of this process. Call it before `os._exit`, which does not run the exits of `with` blocks."""
    for guard in list(_held):
        guard.end()


def release_of(lock: AnyPath, pid: int) -> None:
    """Releases the folder of a lock if its owner was process `number` of this machine, which has ended."""
    owner = read_owner(owner_path(lock))
    if owner is not None and owner["pid"] == pid and same_machine(owner, this_machine()):
        discard(owner_path(lock))


@contextlib.contextmanager
def hold_folder(folder: AnyPath, lock: AnyPath, takeover: bool = False, way_out: str = WAY_OUT) -> Iterator[Guard]:
    """Holds a folder for this process while the block runs.

    Args:
        folder: the folder, for messages.
        lock: path of the lock file. It is created if missing, and not removed.
        takeover: take over the folder from a process that appears to be alive.
        way_out: end of the error message if the folder is in use.

    Raises:
        ConfigError: another process holds it.
        DataError: the folder is not writable, or this program did not write the existing owner's file.
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
            note(f"{folder}: taken over from {_name(owner)}")
        guard = Guard(folder, path)
        guard.begin()
        try:
            yield guard
        finally:
            guard.end()


def require_unheld(folder: AnyPath, lock: AnyPath, way_out: str = WAY_OUT) -> None:
    """Raises ConfigError if a process holds the folder. Does not change the folder."""
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
    """The path of the owner's file."""
    return lock.parent / f".{lock.name}.json"


def read_owner(path: AnyPath) -> dict[str, Any] | None:
    """The content of an owner's file; None if the file is missing or invalid."""
    try:
        with bucket_errors(path):
            found = json.loads(path.read_bytes().decode())
        owner = {"host": str(found["host"])[:200], "boot": str(found["boot"]), "pid": int(found["pid"])}
        return owner | {"id": str(found["id"]), "time": float(found["time"])}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def same_machine(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two owners ran on the same machine since its last boot: by boot id if known, otherwise by host name."""
    return one["boot"] == other["boot"] and (bool(one["boot"]) or one["host"] == other["host"])


def this_machine() -> dict[str, Any]:
    """Host, boot id and process id of this process, in the form of an owner."""
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
        by += f", whose last heartbeat was {max(_age(owner, path), 0):.0f} s ago (considered dead after {DEAD_AFTER:.0f} s)"
    return ConfigError(f"{folder}: is in use by {by}; {way_out}")


def _require_ours(path: AnyPath) -> dict[str, Any] | None:
    """Reads the owner in the file, if any. Raises DataError for a file that this program did not write."""
    found = read_owner(path)
    if found is None and lies_there(path) and (not path.is_file() or path.read_bytes().strip(b"\0 \n")):
        raise DataError(f"{path}: not written by this program; move it away, or choose another folder")
    return found


def _may_live(owner: dict[str, Any], path: AnyPath, locks: bool) -> bool:
    """Whether an owner may be alive.

    Args:
        owner: the last owner of the folder.
        path: path of the owner's file.
        locks: whether this process has locked the folder. If so, an owner on this machine has ended.
    """
    here = this_machine()
    if same_machine(owner, here) and (locks or owner["pid"] == here["pid"] or not _is_running(owner["pid"])):
        return False
    return _age(owner, path) < DEAD_AFTER


def _age(owner: dict[str, Any], path: AnyPath) -> float:
    """Seconds since the last heartbeat by the clock of the file system; in a bucket, by the clocks of the two machines."""
    if is_bucket(path):
        return time.time() - owner["time"]
    probe = part_path(path)
    try:
        probe.touch()
        return probe.stat().st_mtime - path.stat().st_mtime
    except FileNotFoundError:  # the process has just ended
        return DEAD_AFTER
    except OSError:  # the folder is not writable
        return time.time() - owner["time"]
    finally:
        discard(probe)


def _is_running(pid: int) -> bool:
    if fcntl is None:
        return True  # Windows, where a signal 0 would be Ctrl-C
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _locked(lock: Path) -> tuple[IO[bytes], bool] | None:
    """Opens the lock file. Also returns whether it is locked, because some file systems do not support locks.

    None if another process has the lock.
    """
    for last in (False, True):
        file = lock.open("ab")
        held = _try_lock(file)
        if held is not False and os.path.samestat(
            os.fstat(file.fileno()), os.stat(lock)
        ):  # otherwise it was replaced by a takeover
            return file, held is True
        file.close()
        if not last:
            time.sleep(0.2)  # another process may have locked it only to check it
    return None


def _fresh(lock: Path) -> Path:
    """Replaces a lock file that another process does not release. Raises DataError for a file that is not a lock."""
    if lock.stat().st_size:
        raise DataError(f"{lock}: not written by this program; move it away, or choose another folder")
    new = part_path(lock)
    new.touch()
    os.replace(new, lock)
    return lock


def _try_lock(file: IO[bytes]) -> bool | None:
    """Locks a file. Returns False if another process holds the lock, None if the file system does not support locks."""
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    except OSError as error:
        return None if error.errno in _UNLOCKABLE else False
    return True
