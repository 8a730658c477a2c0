"""Writes traces of JAX's profiler to a workdir."""

import contextlib
from typing import Any

import jax

from hmmn_jax.io.buckets import AnyPath
from hmmn_jax.io.uploads import UploadedFolder


class Profile:
    """Writes a profiler trace of the steps between `start` and `stop` to a local folder or a folder in a bucket.

    The context manager ends a running trace on exit.
    """

    def __init__(self, folder: AnyPath):
        self.folder = folder
        self._running = contextlib.ExitStack()

    def __enter__(self) -> "Profile":
        return self

    def __exit__(self, *_: Any) -> None:
        self.stop()

    def start(self) -> None:
        """Starts the trace."""
        folder = UploadedFolder(self.folder)  # the profiler can write only local files
        self._running.callback(folder.close)
        jax.profiler.start_trace(folder.local)
        self._running.callback(jax.profiler.stop_trace)

    def stop(self) -> None:
        """Stops a running trace and writes the trace. Raises DataError if the upload fails."""
        self._running.close()
