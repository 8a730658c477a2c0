"""The key-value store of JAX's coordination service, by which the processes of a run exchange small texts.

This is the only file that uses a private module of JAX. `jax.distributed` gives `initialize`, `is_initialized` and `shutdown`,
`jax.experimental.multihost_utils` computations in which all processes take part at once; a process that waits for a text that
may never come, such as the error of another one, needs the store itself. Orbax and JAX's own `multihost_utils` reach it in the
same way.
"""

import importlib
from typing import Any

from hmmn_jax.errors import HMMNError

MODULE, ATTRIBUTES = "jax._src.distributed", ("client", "process_id", "num_processes")
METHODS = ("key_value_set", "blocking_key_value_get")  # of the client


def client() -> Any:
    """The client of the store; None in a single-process run.

    Raises HMMNError if processes are connected and this release of JAX has no such store.
    """
    import jax  # takes a second; mistakes in flags are reported before

    return _state().client if jax.distributed.is_initialized() else None


def index() -> int:
    """The number of this process, from 0."""
    return _state().process_id


def count() -> int:
    """The number of processes."""
    return _state().num_processes


def _state() -> Any:
    import jax

    try:
        state = getattr(importlib.import_module(MODULE), "global_state", None)
    except ImportError:
        state = None
    missing = [name for name in ATTRIBUTES if not hasattr(state, name)]
    if missing:
        raise HMMNError(
            f"JAX {jax.__version__} has no {MODULE}.global_state.{missing[0]}, which runs in several processes need; "
            "use an earlier release of JAX, or one process"
        )
    return state
