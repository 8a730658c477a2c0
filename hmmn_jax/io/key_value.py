"""Accesses the key-value store of JAX's coordination service.

The processes of a run exchange short strings through this store. This file is the only file of the package that uses a private
module of JAX. JAX's public API is not sufficient. `jax.distributed` only provides `initialize`, `is_initialized` and
`shutdown`. `jax.experimental.multihost_utils` only provides computations in which all processes participate. A process that
waits for a string that may never be sent, such as the error of another process, needs direct access to the store. Orbax and
JAX's own `multihost_utils` access the store in the same way.
"""

import importlib
from typing import Any

from hmmn_jax.errors import HMMNError

MODULE, ATTRIBUTES = "jax._src.distributed", ("client", "process_id", "num_processes")
METHODS = ("key_value_set", "blocking_key_value_get")  # methods of the client


def client() -> Any:
    """Returns the client of the store, or None in a single-process run.

    Raises HMMNError if processes are connected but this release of JAX does not have the store.
    """
    import jax  # imported here, because importing JAX takes a second and errors in flags should be reported first

    return _state().client if jax.distributed.is_initialized() else None


def index() -> int:
    """Returns the index of this process, starting from 0."""
    return _state().process_id


def count() -> int:
    """Returns the number of processes."""
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
            f"JAX {jax.__version__} has no {MODULE}.global_state.{missing[0]}, which a run with several processes requires. "
            "Use an earlier release of JAX, or run a single process"
        )
    return state
