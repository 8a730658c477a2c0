"""Configures malloc for processes that run on a CPU. Only scripts use this module: a library should not change malloc."""

import ctypes
import os
import platform
import sys
from pathlib import Path
from typing import Any

# Options in glibc's malloc.h
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_TUNABLES = "GLIBC_TUNABLES"
_HUGE_PAGES = "glibc.malloc.hugetlb=1"  # malloc then requests huge pages with madvise; glibc 2.35 or later has this setting
_HUGE_PAGES_OF_KERNEL = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def restart_with_huge_pages() -> None:
    """Replaces this process by the same command with huge pages for malloc, if Linux and glibc support them.

    On a CPU, programs allocate and free more than 1 GB for each frame of 480x864. The system maps huge pages of 2 MB in a
    fraction of the time of small pages. glibc reads this setting only when a process starts. The process keeps its id. If the
    environment contains settings of glibc, nothing is changed.
    """
    if _TUNABLES in os.environ or not sys.executable or platform.libc_ver()[0] != "glibc":
        return
    try:
        supported = "[never]" not in _HUGE_PAGES_OF_KERNEL.read_text()
    except OSError:  # the kernel does not have huge pages
        return
    if supported:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, _TUNABLES: _HUGE_PAGES})


def keep_host_memory_small() -> None:
    """Configures glibc's malloc for the rest of the process, so that it returns unused memory to the system.

    Call this function before other threads start. On systems without glibc, this function does nothing.

    Memory that was used for compilation is returned to the system immediately. With huge pages, large buffers are also returned
    immediately. With small pages, the system would take 0.3 s to map the buffers for a frame of 480x864, so malloc reuses large
    buffers. The process then needs about 150 MB more, because buffers of different sizes leave gaps in malloc's heap.
    """
    if sys.platform == "win32":  # on Windows, CDLL(None) raises an error
        return
    libc = ctypes.CDLL(None)
    if not (hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim")):
        return
    huge_pages = _HUGE_PAGES in os.environ.get(_TUNABLES, "")
    libc.mallopt(_ARENA_MAX, 1)  # otherwise, the heap of each of XLA's threads keeps freed memory
    libc.mallopt(_MMAP_THRESHOLD, 8 * 2**20 if huge_pages else 2**30)
    libc.mallopt(_TRIM_THRESHOLD, 32 * 2**20 if huge_pages else 2**30)

    import jax  # not imported earlier, because importing JAX takes a second

    def trim(event: str, duration_secs: float, **_: Any) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            libc.malloc_trim(0)

    jax.monitoring.register_event_duration_secs_listener(trim)
