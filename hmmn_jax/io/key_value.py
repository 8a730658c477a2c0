"""The key-value store of JAX's coordination service, through which the processes of a run exchange short strings.

This is the only file that uses a private module of JAX. The public API is not sufficient: `jax.distributed` only has
`initialize`, `is_initialized` and `shutdown`, and `jax.experimental.multihost_utils` only has computations in which all
processes take part. A process that waits for a string that may never be sent, such as the error of another process, needs
direct access to the store. Orbax and JAX's own `multihost_utils` access it in the same way.
"""

import importlib
from typing import Any

from hmmn_jax.errors import HMMNError

MODULE, ATTRIBUTES = "jax._src.distributed", ("client", "process_id", "num_processes")
METHODS = ("key_value_set", "blocking_key_value_get")  # of the client


def client() -> Any:
    """The client of the store; None in a single-process run.

    Raises HMMNError if processes are connected but this release of JAX does not have the store.
    """
    import jax  # importing it takes a second, and flag errors should be reported before that

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
            f"JAX {jax.__version__} has no {MODULE}.global_state.{missing[0]}, which runs in several processes require; "
            "use an earlier release of JAX, or one process"
        )
    return state
