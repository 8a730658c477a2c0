"""Runs each process of a run under a parent process. The parent reports why its child ended, even if the child was killed.

When a process is lost or does not start, JAX aborts the other processes from C++ and prints a long message. Python code cannot
catch such an abort. Therefore, the process forks before JAX is imported. The child runs the program. The parent forwards the
child's stderr until the child ends. If the child was aborted or killed, the parent prints the reason as the last line on stderr
and writes the reason to `FOLDER/error-PROCESS.txt`.
"""

import contextlib
import datetime
import os
import platform
import re
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable

from hmmn_jax.cli.program import INTERRUPTED, TERMINATED
from hmmn_jax.errors import DataError, HMMNError, one_line
from hmmn_jax.io.buckets import AnyPath, is_bucket
from hmmn_jax.io.files import bucket_errors, lies_there, read_start, shorten, write_file
from hmmn_jax.io.guard import RUN_LOCK, release_all, release_of, require_unheld
from hmmn_jax.io.peers import LOST, NOT_MET
from hmmn_jax.io.record import replace_own

TAIL_BYTES = 1 << 16  # number of bytes at the end of the output that are searched for a reason
_BEGUN = b"B"  # the child reports that the folder belongs to this run
_REPORTED = b"R"  # the child has printed the reason; the next byte is its exit code
_SIGTERM = b"T"  # the parent received SIGTERM
_NOT_MET = (
    "not all processes connected within --initialization_timeout. Check that all processes were started. Also check "
    "--coordinator and the ports."
)
_REASONS = (  # (pattern in the last output of JAX before it aborts, exit code, reason to report)
    (r"RegisterTask", NOT_MET, _NOT_MET),
    (
        r"Failed to send RPC to coordination service",
        LOST,
        "the connection to process 0 was lost. Process 0 was killed or cannot be reached over the network.",
    ),
    (
        r"unhealthy \(stopped sending heartbeats\):\s*([\d, \n]+)",
        LOST,
        "no heartbeat was received from process {0} within --heartbeat_timeout",
    ),
    (r"absl::Status: ([^\n]+)", LOST, "JAX ended this process: {0}"),
)


class Supervised:
    """The child's connection to its parent.

    Attributes:
        folder: the folder for `error-PROCESS.txt`, or None to write no file.
        process: index or name of this process.
    """

    def __init__(self, program: str, folder: AnyPath | None, process: str, parent: socket.socket | None = None):
        self.program, self.folder, self.process, self._parent = program, folder, process, parent
        self._begun = False

    def listen(self, on_termination: Callable[[], None]) -> None:
        """Calls `on_termination` when the parent receives SIGTERM. Ends this process when the parent is killed."""
        if self._parent is not None:
            threading.Thread(target=self._listen, args=(on_termination,), name="parent", daemon=True).start()

    def begun(self) -> None:
        """Notifies the parent that the folder belongs to this run."""
        self._begun = True
        if self._parent is not None:
            self._parent.sendall(_BEGUN)

    def report(self, reason: str, code: int) -> None:
        """Releases all locks, prints the reason as the last line, and writes the reason to `error-PROCESS.txt`.

        The process must exit after this call.
        """
        release_all()
        report(self.program, self.folder, self.process, reason, code, self._begun)
        if self._parent is not None:
            with contextlib.suppress(OSError):
                self._parent.sendall(_REPORTED + bytes([code]))

    def _listen(self, on_termination: Callable[[], None]) -> None:
        assert self._parent is not None
        with contextlib.suppress(ConnectionResetError):  # raised if the parent ended before it read all messages of the child
            while received := self._parent.recv(1):
                if received == _SIGTERM:
                    on_termination()
        os._exit(128 + signal.SIGKILL)


def supervise(program: str, folder: AnyPath | None, process: str) -> Supervised:
    """Forks if the system supports forking, and returns only in the child. Call this function before importing JAX.

    Args:
        program: name of the program; its error messages begin with this name.
        folder: the folder for `error-PROCESS.txt`.
        process: index or name of this process.
    """
    if not hasattr(os, "fork"):
        return Supervised(program, folder, process)
    ours, theirs = socket.socketpair()
    read, write = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    signals = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # block signals until the parent can forward them
    if (child := os.fork()) == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
        ours.close()
        os.close(read)
        os.dup2(write, 2)
        os.close(write)
        sys.stderr = os.fdopen(2, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)
        os.setpgid(0, 0)  # in a new process group, the child receives Ctrl-C only from the parent
        return Supervised(program, folder, process, theirs)
    theirs.close()
    os.close(write)
    for number in signals:
        signal.signal(number, lambda number, _: _pass_on(number, child, ours))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
    code, tail = _wait(child, read)
    if code < 0:  # a signal ended the child
        received = _received(ours)
        if folder is not None:
            release_of(folder / RUN_LOCK, child)
        if _REPORTED in received:  # JAX aborted the child after the child had reported the reason
            _repeat_reason(program, tail)
            os._exit(received[received.index(_REPORTED) + 1])
        reason, code = explain(tail, -code)
        report(program, folder, process, reason, code, _BEGUN in received)
    os._exit(code)


def _repeat_reason(program: str, tail: str) -> None:
    """Prints the reported reason again if `tail`, the end of the output, contains other output after the reason."""
    lines = tail.splitlines()
    reasons = [line for line in lines if line.startswith(f"{program}: ")]
    if reasons and reasons[-1] != lines[-1]:
        print(reasons[-1], file=sys.stderr, flush=True)


def explain(tail: str, number: int) -> tuple[str, int]:
    """Returns the reason why a signal ended a process, and the exit code.

    Args:
        tail: the end of the process's output.
        number: the signal number.
    """
    if number == signal.SIGABRT:
        for pattern, code, reason in _REASONS:
            if found := re.search(pattern, tail):
                return reason.format(*(" ".join(group.split()) for group in found.groups())), code
    name = signal.Signals(number).name
    hint = ". The system kills processes when it is out of memory." if number == signal.SIGKILL else ""
    return f"this process was ended by {name}{hint}", 128 + number


def report(program: str, folder: AnyPath | None, process: str, reason: str, code: int, begun: bool) -> None:
    """Prints the reason for the end of a process as the last line, and writes the reason to `error-PROCESS.txt`.

    Until the folder belongs to this run, interruptions and errors with exit code 1 or 2 are printed but not written. Nothing is
    written to a folder that another run is using.
    """
    line = f"{program}: {one_line(reason)}"
    if folder is not None and (begun or code not in (1, 2, INTERRUPTED, TERMINATED)):
        try:
            if not begun:
                require_unheld(folder, folder / RUN_LOCK)
            now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
            about = f"{now} process {process} on {platform.node()}, exit code {code}"
            _write(folder / f"error-{process}.txt", f"{about}\n{line}\n".encode())
        except (HMMNError, OSError) as error:
            print(f"{program}: error-{process}.txt was not written: {shorten(error)}", file=sys.stderr)
    sys.stdout.flush()
    start = "\n" if begun else ""  # a progress bar may be on this line
    print(f"{start}{line}", file=sys.stderr, flush=True)


def _write(path: AnyPath, content: bytes) -> None:
    """Writes `error-PROCESS.txt`. Raises DataError if the file exists and was not written by this program."""
    if not is_bucket(path):
        with replace_own(path) as temporary:
            temporary.write_bytes(content)
        return
    with bucket_errors(path):
        if lies_there(path) and b" process " not in read_start(path, 50):
            raise DataError(f"{path} was not written by this program")
    write_file(path, content)


def _pass_on(number: int, child: int, control: socket.socket) -> None:
    with contextlib.suppress(OSError):
        if number == signal.SIGTERM:
            control.sendall(_SIGTERM)
        os.kill(child, number)


def _received(control: socket.socket) -> bytes:
    """Returns the bytes that the child has sent, without waiting for more."""
    control.settimeout(0)
    with contextlib.suppress(OSError):
        return control.recv(16)
    return b""


def _wait(child: int, errors: int) -> tuple[int, str]:
    """Forwards the child's stderr until the child ends. Returns the exit code and the end of the output.

    If a signal ended the child, the exit code is minus the signal number.
    """
    tail, code = b"", None
    while True:
        ready = select.select([errors], [], [], 0.1)[0]
        if ready and (found := os.read(errors, 1 << 16)):
            with contextlib.suppress(OSError):
                os.write(2, found)
            tail = (tail + found)[-TAIL_BYTES:]
            continue
        if code is not None:
            return code, tail.decode(errors="replace")
        ended, status = os.waitpid(child, os.WNOHANG if not ready else 0)
        if ended:
            code = os.waitstatus_to_exitcode(status)
