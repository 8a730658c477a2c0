"""Runs a program in several processes.

An error or SIGTERM in one process ends all processes, and each process prints the reason.
"""

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable

from hmmn_jax.cli.program import TERMINATED, run_program
from hmmn_jax.cli.supervisor import Supervised, supervise
from hmmn_jax.errors import HMMNError
from hmmn_jax.io import peers
from hmmn_jax.io.buckets import AnyPath
from hmmn_jax.io.files import shorten


class Together:
    """Runs a program in one of several processes, and ends all processes if one of them fails.

    If there is only one process, the method `run` only calls `run_program`.
    """

    def __init__(self, program: str, resume: str = "", supervised: Supervised | None = None, terminated: str = ""):
        self._program, self._resume, self._supervised, self._sigterm_reason = program, resume, supervised, terminated
        self._watch: peers.Watch | None = None
        self._reason: str | None = None
        self._reporting = threading.Lock()

    def run(self, run: Callable[[], int | None]) -> int:
        """Calls the function `run` and reports its errors. Ends all processes after an error, and returns the exit code."""
        if self._supervised is None:
            return run_program(self._program, run, self._resume)
        self._supervised.listen(self._terminate)
        peers.when_met(self._start_watch)
        try:
            code = run_program(self._program, run, self._resume, self._keep)
        except BaseException as error:
            traceback.print_exc()
            lost = peers.is_lost_connection(error)
            code = peers.LOST if lost else 1
            what = "the connection to another process was lost" if lost else type(error).__name__
            self._reason = f"{what}: {shorten(error)}"
        return self._conclude(code)

    def _start_watch(self) -> None:
        assert self._supervised is not None
        self._watch = peers.watch(self._tell, self._supervised.begun, self._sigterm_reason)

    def _conclude(self, code: int) -> int:
        assert self._supervised is not None
        if self._reason is None:  # without an error, all processes reach this point
            if self._watch is not None:
                import jax

                self._watch.close()
                jax.distributed.shutdown()
                if not self._watch.has_stopped():
                    sys.stdout.flush()
                    sys.stderr.flush()
                    os._exit(code)
            return code
        if self._watch is not None:
            end = self._watch.announce(code, self._reason)
            if end.reason != self._reason:  # report only the first error, because it caused the later errors
                code = self._tell(end)
                self._watch.hear()
                os._exit(code)
        self._reporting.acquire()
        self._supervised.report(self._reason, code)
        if self._watch is not None:
            self._watch.hear()
        os._exit(code)  # during a normal exit, JAX would wait for the other processes

    def _keep(self, _: str, error: HMMNError) -> None:
        self._reason = str(error)

    def _tell(self, end: peers.End) -> int:
        """Reports why another process ended, and returns the exit code for this process."""
        assert self._supervised is not None
        self._reporting.acquire()  # the lock is never released, because the process ends
        code = TERMINATED if end.code == TERMINATED else peers.LOST
        self._supervised.report(f"process {end.process} ended: {end.reason}", code)
        return code

    def _terminate(self) -> None:
        """Ends all processes after the parent of this process has received SIGTERM."""
        assert self._supervised is not None
        # Wait until the main thread has handled the signal. The main thread cannot handle signals while processes connect.
        time.sleep(1)
        if self._watch is not None:
            self._watch.announce_termination()
            return
        self._reporting.acquire()
        self._supervised.report(f"the command was terminated. {self._resume}", TERMINATED)
        os._exit(TERMINATED)


def together(program: str, resume: str, folder: AnyPath | None, process: str | None, terminated: str = "") -> Together:
    """Starts a supervisor if there are several processes, and returns a `Together`. Call this function before importing JAX.

    Args:
        program: name of the program; its error messages begin with this name.
        resume: the instruction to print after an interruption.
        folder: the folder for `error-PROCESS.txt`.
        process: index or name of this process, or None if there is only one process.
        terminated: the reason to report if the process receives SIGTERM and has nothing to save.
    """
    if process is None:
        return Together(program)
    sys.stdout.flush()
    return Together(program, resume, supervise(program, folder, process), terminated)
