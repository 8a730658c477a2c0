"""Exchanges values between the processes of a run, and ends all processes when one of them fails.

The functions use the key-value store (`key_value`) of JAX's coordination service. `jax.distributed.initialize` starts this
service. A single-process run has no coordination service, so the functions of this module return the values of the process
itself.
"""

import contextlib
import functools
import itertools
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from hmmn_jax.errors import HMMNError
from hmmn_jax.io.key_value import client as _client
from hmmn_jax.io.key_value import count as _count
from hmmn_jax.io.key_value import index as _index

LOST, NOT_MET = 4, 5  # exit codes: another process failed or was lost; not all processes connected
POLL_SECONDS = 20  # timeout of a single request for a key that may be set at any time
AFTER_HEARD_SECONDS = 0.3  # time for other processes to end; JAX aborts processes that are still running when the service ends
GRACE_SECONDS = 1.0  # time for this process to encounter the same error as another process
NOTHING_SAVED = "received SIGTERM before there was anything to save"
STOP_SECONDS = 2.0  # time for a request to end after the service has ended
HEARD_SECONDS = 5.0  # maximum time that the first process, which runs the service, waits for the other processes
# Patterns in the error messages of computations that fail because another process has ended.
_NETWORK = re.compile(r"^UNKNOWN: Gloo|gloo/transport", re.I)  # pmap raises network errors as ValueError
_LOST = re.compile(r"gloo|nccl|socket|connection (closed|reset)|broken pipe|UNAVAILABLE|heartbeat|barrier|coordination", re.I)
_PREFIX = "hmmn_jax"
_ENDED, _TERMINATED = f"{_PREFIX}/ended", f"{_PREFIX}/terminated"
_numbers: dict[str, Iterator[int]] = {}
_watch: "Watch | None" = None
_when_met: Callable[[], None] | None = None


class End(NamedTuple):
    """Describes how a process ended.

    Attributes:
        process: index of the process.
        code: exit code of the process.
        reason: the reason why the process ended, in one line.
    """

    process: int
    code: int
    reason: str


def from_first(name: str, make: Callable[[], Any]) -> Any:
    """Calls `make` in the first process, and returns the result, a JSON value, in all processes.

    Every process must call this function. Raises HMMNError in all processes if `make` raises an HMMNError.
    """
    if (client := _client()) is None:
        return make()
    key = f"{_PREFIX}/{name}/{_number(name)}"
    if _index() > 0:
        found = json.loads(_wait_for(client, key))
        if "error" in found:
            raise _error_of(found["error"])
        return found["value"]
    try:
        value = make()
    except HMMNError as error:
        client.key_value_set(key, json.dumps({"error": [type(error).__name__, str(error)]}))
        raise
    client.key_value_set(key, json.dumps({"value": value}))
    return value


def from_all(name: str, value: Any) -> list[Any]:
    """Collects one JSON value from each process. Returns the values in the order of the process indices.

    Every process must call this function.
    """
    if (client := _client()) is None:
        return [value]
    prefix = f"{_PREFIX}/{name}/each/{_number(f'{name}/each')}"
    client.key_value_set(f"{prefix}/{_index()}", json.dumps(value))
    return from_first(name, lambda: [json.loads(_wait_for(client, f"{prefix}/{i}")) for i in range(_count())])


def is_lost_connection(error: BaseException) -> bool:
    """Returns whether a computation raised this error because another process has ended."""
    if error.__cause__ is not None and is_lost_connection(error.__cause__):
        return True
    if type(error).__name__ in ("JaxRuntimeError", "XlaRuntimeError"):
        return bool(_LOST.search(str(error)))
    return isinstance(error, ValueError) and bool(_NETWORK.search(str(error)))


class Watch:
    """Ends this process when another process fails, or when any process receives SIGTERM and there is nothing to save.

    Attributes:
        terminated: an event that is set if any process received SIGTERM.
        saves: whether this process saves its work and exits after SIGTERM. Otherwise, the `Watch` ends this process.
    """

    def __init__(self, tell: Callable[[End], int], begun: Callable[[], None], terminated: str = ""):
        """Starts two threads: one waits until a process announces its end, the other until a process receives SIGTERM.

        Args:
            tell: the function that reports the `End` of another process, or of any process that received SIGTERM, and returns
                the exit code for this process.
            begun: the function that `peers.begun` calls once this run owns its output folder.
            terminated: the reason to report if a process receives SIGTERM and there is nothing to save.
        """
        self._tell, self.begun, self._closed = tell, begun, threading.Event()
        self._sigterm_reason = terminated or NOTHING_SAVED
        self._client = _client()
        self.terminated, self.saves = threading.Event(), False
        actions = ((_ENDED, self._end), (_TERMINATED, self._terminate))
        self._threads = [
            threading.Thread(target=self._wait, args=pair, name=f"watch {pair[0]}", daemon=True) for pair in actions
        ]
        for thread in self._threads:
            thread.start()

    def announce(self, code: int, reason: str) -> End:
        """Ends all other processes. Returns the first `End` that any process announced."""
        self._closed.set()
        own = End(_index(), code, reason)
        try:
            self._client.key_value_set(_ENDED, json.dumps(own))
        except Exception:  # another process announced its end first, or the first process is lost
            with contextlib.suppress(Exception):
                return End(*json.loads(self._client.blocking_key_value_get(_ENDED, 1000)))
            return own
        if own.process == 0:
            deadline = time.monotonic() + HEARD_SECONDS
            for i in range(1, _count()):
                with contextlib.suppress(Exception):
                    left = deadline - time.monotonic()
                    self._client.blocking_key_value_get(f"{_ENDED}/{i}", max(1, int(1000 * left)))
            time.sleep(AFTER_HEARD_SECONDS)
        return own

    def hear(self) -> None:
        """Notifies the first process, which waits in `announce`, that this process is about to end.

        Call this method just before exit.
        """
        with contextlib.suppress(Exception):
            self._client.key_value_set(f"{_ENDED}/{_index()}", "heard")

    def announce_termination(self) -> None:
        """Notifies all processes that this process received SIGTERM."""
        with contextlib.suppress(Exception):  # another process has already set the key
            self._client.key_value_set(_TERMINATED, str(_index()))

    def close(self) -> None:
        """Stops watching. Call this method before this process exits normally."""
        self._closed.set()

    def has_stopped(self) -> bool:
        """Waits for pending requests after the service has ended, and returns whether all requests have finished.

        Python must not exit while a request is pending. Otherwise, the process is aborted.
        """
        for thread in self._threads:
            thread.join(STOP_SECONDS)
        return not any(thread.is_alive() for thread in self._threads)

    def _wait(self, key: str, act: Callable[[str], None]) -> None:
        while not self._closed.is_set():
            try:
                found = self._client.blocking_key_value_get(key, 1000 * POLL_SECONDS)
            except Exception as error:
                if "DEADLINE_EXCEEDED" not in str(error):
                    self._closed.wait(1)  # the service is lost; JAX will end this process soon
                continue
            return act(found)

    def _end(self, text: str) -> None:
        end = End(*json.loads(text))
        if end.process == _index() or self._closed.wait(GRACE_SECONDS):
            return
        code = self._tell(end)
        self.hear()
        os._exit(code)

    def _terminate(self, text: str) -> None:
        self.terminated.set()
        if self.saves or self._closed.is_set():
            return
        if _index() == 0:
            time.sleep(GRACE_SECONDS)  # gives the other processes time to read the key
        os._exit(
            self._tell(End(int(text), 143, self._sigterm_reason))
        )  # exits immediately, so that nothing is printed after the reason


def when_met(act: Callable[[], None]) -> None:
    """Sets the function to call when all processes are connected."""
    global _when_met
    _when_met = act


def met() -> None:
    """Reports that all processes are connected, and calls the function that was set with `when_met`.

    Call this function after `jax.distributed.initialize` has connected all processes.
    """
    if _when_met is not None:
        _when_met()


def watch(tell: Callable[[End], int], begun: Callable[[], None], terminated: str = "") -> Watch | None:
    """Creates the `Watch` of this process from the given arguments. Returns None in a single-process run."""
    global _watch
    if _client() is None:
        return None
    _watch = Watch(tell, begun, terminated)
    return _watch


def begun() -> None:
    """Notifies the `Watch` of this process that this run owns its output folder."""
    if _watch is not None:
        _watch.begun()


def terminated() -> bool:
    """Whether this process has been notified that a process of a multi-process run received SIGTERM."""
    return _watch is not None and _watch.terminated.is_set()


def save_on_termination() -> None:
    """Declares that this process saves its work and exits after SIGTERM. The `Watch` then does not end the process."""
    if _watch is not None:
        _watch.saves = True


def _number(name: str) -> int:
    """The number of earlier calls of this function with this name. The number is the same in all processes."""
    return next(_numbers.setdefault(name, itertools.count()))


def _wait_for(client: Any, key: str) -> str:
    """Waits for the value of a key. If the process that sets the key is lost, JAX or the `Watch` ends this process."""
    while True:
        try:
            return client.blocking_key_value_get(key, 1000 * POLL_SECONDS)
        except Exception as error:
            if "DEADLINE_EXCEEDED" not in str(error):
                raise


@functools.cache
def _kinds() -> dict[str, type[HMMNError]]:
    from hmmn_jax import errors

    return {name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, HMMNError)}


def _error_of(found: list[str]) -> HMMNError:
    name, text = found
    first, *details = text.split("\n  ")
    return _kinds().get(name, HMMNError)(first, details)
