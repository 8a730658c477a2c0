"""Measures the free memory of this machine, and the peak memory use of this process."""

import os
import sys
from pathlib import Path

try:
    import resource
except ModuleNotFoundError:  # Windows does not have this module
    resource = None  # type: ignore[assignment]  # mypy treats the name as a module

_MEMINFO = Path("/proc/meminfo")
# The files with the memory limit and the current memory use of a container, for cgroup v2 and v1.
_CGROUPS = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"), Path("/sys/fs/cgroup/memory/memory.usage_in_bytes")),
)


def peak_megabytes() -> float | None:
    """Returns the peak resident memory of this process, in units of 2**20 bytes; None if the system does not report it."""
    if resource is None:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10  # the unit is bytes on macOS and KiB elsewhere


def free_host_bytes() -> int | None:
    """Returns the number of bytes that can be allocated without swapping; None if this number is unknown.

    In a container, the number also respects the memory limit of the container.
    """
    found = [_available(), *(_left(limit, used) for limit, used in _CGROUPS)]
    return min((count for count in found if count is not None), default=None)


def _available() -> int | None:
    try:
        for line in _MEMINFO.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 2**10
    except (OSError, ValueError, IndexError):
        pass
    try:  # macOS reports free memory only through its own tools, so assume that half of the memory is free
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, OSError, ValueError):
        return None


def _left(limit: Path, used: Path) -> int | None:
    try:
        return max(int(limit.read_text(encoding="ascii")) - int(used.read_text(encoding="ascii")), 0)
    except (OSError, ValueError):  # the file does not exist, or contains "max"
        return None
