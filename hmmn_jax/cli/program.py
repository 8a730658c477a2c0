"""Common exit handling of all commands: exit codes, one-line error messages, interruptions without a traceback.

| exit code | meaning |
|---|---|
| 0 | complete |
| 1 | some videos failed, the others are complete; for `convert_weights.py verify`: logits differ |
| 2 | invalid flags, files or settings, or tensors that do not match |
| 3 | training diverged |
| 4 | with several processes: another process failed or was lost |
| 5 | with several processes: not all processes connected |
| 130, 143 | interrupted by Ctrl-C or by SIGTERM |
"""

import contextlib
import functools
import os
import signal
import sys
import warnings
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

from hmmn_jax.errors import HMMNError
from hmmn_jax.io.notes import note

INTERRUPTED, TERMINATED, MISTAKE = 130, 143, 2


class Terminated(KeyboardInterrupt):
    """SIGTERM, which is handled like Ctrl-C."""


def tell(name: str, error: HMMNError) -> None:
    """Prints an error."""
    print(f"{name}: {error}", file=sys.stderr)


def run_program(
    name: str, run: Callable[[], int | None], resume: str = "", tell: Callable[[str, HMMNError], None] = tell
) -> int:
    """Runs the body of a command and returns its exit code.

    Args:
        name: name of the command; its errors begin with it.
        run: returns an exit code, None for 0.
        resume: what to do after an interruption, such as "run the same command to resume".
        tell: prints an error of the command with this name.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # file names may contain bytes that are not valid UTF-8
    with contextlib.suppress(ValueError):  # not in the main thread
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _interrupt)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = functools.partial(_show_warning, warnings.showwarning)
            return run() or 0
    except HMMNError as error:
        tell(name, error)
        return error.exit_code
    except BrokenPipeError:  # `command | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return TERMINATED
    except OSError as error:
        from hmmn_jax.io.files import reason  # not imported at the top of the file, because its imports take longer than --help

        where = f"{error.filename}: " if error.filename else ""
        tell(name, HMMNError(f"{where}{reason(error)}"))
        return MISTAKE
    except KeyboardInterrupt as interruption:
        terminated = isinstance(interruption, Terminated)
        tell(name, HMMNError("; ".join(["terminated" if terminated else "interrupted", *([resume] if resume else [])])))
        return TERMINATED if terminated else INTERRUPTED


def leave(code: int) -> NoReturn:
    """Ends the process with an exit code.

    After an interruption, it exits immediately: JAX may still be computing, and would crash while Python shuts down.
    """
    if code in (INTERRUPTED, TERMINATED):
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)
    sys.exit(code)


def _show_warning(show: Callable[..., None], message: Warning, category: type[Warning], *place: Any) -> None:
    """Prints each warning for users on one line. Other warnings, such as deprecations, are unchanged."""
    if category is UserWarning:
        note(str(message))
    else:
        show(message, category, *place)


def _interrupt(interruption: int, _: FrameType | None) -> None:
    """Raises an exception for the first signal. Later signals end the process.

    A second signal may arrive while the first is handled, so it ends the process immediately.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: os._exit(TERMINATED if number == signal.SIGTERM else INTERRUPTED))
    raise Terminated if interruption == signal.SIGTERM else KeyboardInterrupt
