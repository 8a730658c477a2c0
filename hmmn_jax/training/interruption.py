"""Handles SIGTERM during a run. With several processes, all processes must stop at the same step."""

import signal
from typing import Any

import jax
from jax.experimental import multihost_utils

from hmmn_jax.errors import ConfigError
from hmmn_jax.io import peers


class Interruption:
    """A context manager that detects SIGTERM on any host, so that the run can be saved."""

    def __init__(self) -> None:
        self._asked = False

    def __enter__(self) -> "Interruption":
        if jax.process_count() == 1:  # with several processes, JAX detects SIGTERM and chooses the step
            self._before = signal.signal(signal.SIGTERM, self._ask)
        return self

    def __exit__(self, *_: Any) -> None:
        if jax.process_count() == 1:
            signal.signal(signal.SIGTERM, self._before)

    def is_asked(self) -> bool:
        """Returns whether this process has received SIGTERM or was informed that another process has received SIGTERM."""
        return self._asked or peers.terminated()

    def reached(self, step: int) -> bool:
        """Returns whether to stop after this step. Every process must call this method at every step."""
        return self._asked or multihost_utils.reached_preemption_sync_point(step)

    def _ask(self, *_: Any) -> None:
        self._asked = True


def require_connected() -> None:
    """Raises ConfigError if JAX has several processes without `jax.distributed`, as can happen on a TPU slice."""
    if jax.process_count() > 1 and not jax.distributed.is_initialized():
        raise ConfigError(
            f"{jax.process_count()} processes share these devices, but jax.distributed is not initialized. SIGTERM or "
            "an error in one process would not reach the other processes. Pass --distributed, or call "
            "jax.distributed.initialize() first."
        )
