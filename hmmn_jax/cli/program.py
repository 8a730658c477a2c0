"""Exit handling that all commands share: exit codes, one-line error messages, and interruptions without a traceback.

| exit code | meaning |
|---|---|
| 0 | complete |
| 1 | some videos failed, and the other videos are complete; for `convert_weights.py verify`: logits differ |
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
    """Raised when the process receives SIGTERM. Code that handles Ctrl-C (KeyboardInterrupt) also handles this exception."""


def tell(name: str, error: HMMNError) -> None:
    """Prints an error message to stderr."""
    print(f"{name}: {error}", file=sys.stderr)


def run_program(
    name: str, run: Callable[[], int | None], resume: str = "", tell: Callable[[str, HMMNError], None] = tell
) -> int:
    """Runs the body of a command and returns its exit code.

    Args:
        name: name of the command; its error messages begin with this name.
        run: the body, which returns an exit code, or None for 0.
        resume: the instruction to print after an interruption, such as "Run the same command to resume".
        tell: the function that prints errors; its arguments are the name of the command and the error.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # file names may contain bytes that are not valid UTF-8
    with contextlib.suppress(ValueError):  # `signal.signal` raises ValueError outside the main thread
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _interrupt)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = functools.partial(_show_warning, warnings.showwarning)
            return run() or 0
    except HMMNError as error:
        tell(name, error)
        return error.exit_code
    except BrokenPipeError:  # for example, `head` closed the pipe in `command | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return TERMINATED
    except OSError as error:
        from hmmn_jax.io.files import reason  # imported only here, to keep --help fast

        where = f"{error.filename}: " if error.filename else ""
        tell(name, HMMNError(f"{where}{reason(error)}"))
        return MISTAKE
    except KeyboardInterrupt as interruption:
        terminated = isinstance(interruption, Terminated)
        outcome = ". ".join(["terminated" if terminated else "interrupted", *([resume] if resume else [])])
        tell(name, HMMNError(f"the command was {outcome}"))
        return TERMINATED if terminated else INTERRUPTED


def leave(code: int) -> NoReturn:
    """Ends the process with an exit code.

    After an interruption, the process exits without Python's clean-up, because the clean-up can crash while JAX is still
    computing.
    """
    if code in (INTERRUPTED, TERMINATED):
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)
    sys.exit(code)


def _show_warning(show: Callable[..., None], message: Warning, category: type[Warning], *place: Any) -> None:
    """Prints each user warning on one line. Passes other warnings, such as deprecation warnings, to `show`."""
    if category is UserWarning:
        note(str(message))
    else:
        show(message, category, *place)


def _interrupt(interruption: int, _: FrameType | None) -> None:
    """Raises an exception for the first signal.

    Later signals end the process immediately, even while the exception for the first signal is being handled.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: os._exit(TERMINATED if number == signal.SIGTERM else INTERRUPTED))
    raise Terminated if interruption == signal.SIGTERM else KeyboardInterrupt
