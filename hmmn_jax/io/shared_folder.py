"""Checks that all processes of a run use the same folder, because folders on different machines may have the same name."""

import time

from hmmn_jax.errors import ConfigError
from hmmn_jax.io import peers
from hmmn_jax.io.buckets import AnyPath
from hmmn_jax.io.guard import RUN_LOCK, Guard, owner_path, read_owner, same_machine, this_machine

# maximum number of seconds until other machines see a new file; network drives may cache the absence of a file for 30 s
_SEEN_SECONDS = 40.0


def require_shared(folder: AnyPath, guard: Guard | None, flag: str) -> None:
    """Raises ConfigError in all processes unless all processes use the folder of the first process.

    Every process must call this function.

    Args:
      folder: the path of the folder in this process.
      guard: the `Guard` of the folder in the first process; None in the other processes.
      flag: the command-line flag that sets the folder, for the error message.
    """
    owner = peers.from_first("owner", lambda: guard and guard.owner)
    here = guard.owner if guard else this_machine()
    wait = 0.0 if owner is None or same_machine(owner, here) else _SEEN_SECONDS
    seen = peers.from_all("folder", [owner is None or _sees(folder, owner["id"], wait), here["host"]])

    def check() -> None:
        blind = [(process, host) for process, (sees, host) in enumerate(seen) if not sees]
        if blind:
            others = ", ".join(f"{process} on {host}" for process, host in blind[:8])
            raise ConfigError(
                f"{folder}: process 0 on {seen[0][1]} and process {others} use different folders with this name. "
                f"Pass a {flag} that all processes share, such as a folder on a network drive"
            )

    peers.from_first("shared", check)  # raises the same error in all processes


def _sees(folder: AnyPath, owner: str, wait: float) -> bool:
    """Waits up to `wait` seconds for the id `owner` in the owner file of the folder. Returns whether the id was found."""
    deadline = time.monotonic() + wait
    while True:
        found = read_owner(owner_path(folder / RUN_LOCK))
        if found is not None and found["id"] == owner:
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.5)
