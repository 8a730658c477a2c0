"""The optimizer: clipping by global norm, then Adam or AdamW."""

from typing import Any

import jax
import optax

from hmmn_jax.errors import ConfigError

OPTIMIZERS = ("adam", "adamw")


def make_optimizer(
    name: str,
    learning_rate: optax.Schedule | float,
    *,
    clip_norm: float = 0.0,
    weight_decay: float = 0.0,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
) -> optax.GradientTransformation:
    """Adam or AdamW of the collection "params".

    Statistics of BatchNorm and the frames' mean and deviation lie in other collections, so they are never trained.

    Args:
      name: one of `OPTIMIZERS`.
      learning_rate: a schedule, or a constant.
      clip_norm: gradients of a greater norm, over all parameters, are scaled down to it; 0 leaves them alone.
      weight_decay: of "adamw", decoupled; kernels only, never biases and norms.
      b1: decay of the gradient's mean.
      b2: decay of the gradient's square.
      eps: added to the root of the latter.

    Raises:
      ConfigError: an unknown name, or a weight decay that nothing would apply.
    """
    if name not in OPTIMIZERS:
        raise ConfigError(f"optimizer is {name!r}, expected one of {', '.join(OPTIMIZERS)}")
    if clip_norm < 0 or weight_decay < 0:
        raise ConfigError(f"clip_norm is {clip_norm} and weight_decay {weight_decay}, expected 0 or more")
    if name == "adam" and weight_decay:
        raise ConfigError(f"weight_decay is {weight_decay}, but adam has none; set the optimizer to adamw, or the decay to 0")
    steps = [optax.clip_by_global_norm(clip_norm)] if clip_norm else []
    steps.append(optax.scale_by_adam(b1, b2, eps))
    if weight_decay:
        steps.append(optax.add_decayed_weights(weight_decay, mask=_is_kernel))
    return optax.chain(*steps, optax.scale_by_learning_rate(learning_rate))


def _is_kernel(params: Any) -> Any:
    return jax.tree.map(lambda x: x.ndim > 1, params)
