"""How a process on a CPU holds its memory: a setting for scripts, not for a library to make."""

import ctypes
import sys
from typing import Any

import jax

# Options of glibc's malloc.h, and what they are set to.
_SETTINGS = (
    (-8, 1),  # M_ARENA_MAX: else each of XLA's threads gets a heap of its own, and keeps there what it frees
    (-3, 2**30),  # M_MMAP_THRESHOLD: else a program's buffers go back to the system after each call, to be zeroed for the next
    (-1, 2**30),  # M_TRIM_THRESHOLD: likewise
)


def keep_host_memory_small() -> None:
    """Makes glibc's malloc hold little more than is in use, and reuse it, for the rest of the process; elsewhere does nothing.

    What compilation leaves behind goes back to the system at once. Measured on a CPU at 480x864: a quarter less at the peak,
    and 0.3 s less of the system's time a frame, which it spent on handing out pages. To be called before other threads start.
    """
    if sys.platform == "win32":  # where CDLL(None) raises
        return
    libc = ctypes.CDLL(None)
    if not (hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim")):
        return
    for option in _SETTINGS:
        libc.mallopt(*option)

    def trim(event: str, duration_secs: float, **_: Any) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            libc.malloc_trim(0)

    jax.monitoring.register_event_duration_secs_listener(trim)
