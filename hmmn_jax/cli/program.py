"""Exit of all commands: exit codes, errors in one line, interruptions without a traceback.

| exit code | meaning |
|---|---|
| 0 | all done |
| 1 | some videos failed, the others are done; of `convert_weights.py verify`, logits that differ from the published code's |
| 2 | a mistake or a refusal; flags, files and tensors that do not match among them |
| 3 | training diverged |
| 4 | of several processes: another one failed, or was lost |
| 5 | of several processes: they did not meet |
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
        tell: reports an error of the command of this name.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # file names may contain bytes that are not valid text
    with contextlib.suppress(ValueError):  # outside of the main thread
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
        from hmmn_jax.io.files import reason  # not at the top of the file: its imports take longer than --help

        where = f"{error.filename}: " if error.filename else ""
        tell(name, HMMNError(f"{where}{reason(error)}"))
        return MISTAKE
    except KeyboardInterrupt as interruption:
        terminated = isinstance(interruption, Terminated)
        tell(name, HMMNError("; ".join(["terminated" if terminated else "interrupted", *([resume] if resume else [])])))
        return TERMINATED if terminated else INTERRUPTED


def leave(code: int) -> NoReturn:
    """Ends the process with an exit code.

    After an interruption, exits immediately: JAX may still compute, and crashes while Python shuts down.
    """
    if code in (INTERRUPTED, TERMINATED):
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)
    sys.exit(code)


def _show_warning(show: Callable[..., None], message: Warning, category: type[Warning], *place: Any) -> None:
    """Prints a warning for users in one line. Warnings for programmers, such as deprecations, are unchanged."""
    if category is UserWarning:
        note(str(message))
    else:
        show(message, category, *place)


def _interrupt(interruption: int, _: FrameType | None) -> None:
    """Raises an exception for the first signal.

    A second one ends the process immediately, because it may arrive while the first is being handled.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: os._exit(TERMINATED if number == signal.SIGTERM else INTERRUPTED))
    raise Terminated if interruption == signal.SIGTERM else KeyboardInterrupt
