"""Defines the training state. Checkpoints contain this state."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct


class TrainState(struct.PyTreeNode):
    """The training state, a pytree. Every leaf is the same on all devices.

    step: number of completed steps, int32.
    params: the parameters that are trained.
    constants: the other collections of the model ("batch_stats", "constants"), which do not change.
    opt_state: state of the optimizer.
    ema: a moving average of `params`, or None.
    """

    step: Any
    params: Any
    constants: Any
    opt_state: optax.OptState
    ema: Any = None

    @classmethod
    def create(cls, variables: dict[str, Any], optimizer: optax.GradientTransformation, ema: bool = False) -> "TrainState":
        """Creates the state before the first step from a model's variables."""
        variables = jax.tree.map(jnp.asarray, variables)
        constants = {name: collection for name, collection in variables.items() if name != "params"}
        params = variables["params"]
        average = jax.tree.map(jnp.copy, params) if ema else None  # a copy, because a donated buffer may be passed only once
        return cls(jnp.zeros((), jnp.int32), params, constants, optimizer.init(params), average)

    @property
    def ema_variables(self) -> dict[str, Any]:
        """The variables for validation and `load_checkpoint`. A moving average, if present, replaces `params`."""
        return {"params": self.params if self.ema is None else self.ema, **self.constants}
