"""Makes Adam or AdamW with clipping by global norm, and with separate learning rates for parts of the network."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
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
    parts: Mapping[str, float] | None = None,
) -> optax.GradientTransformation:
    """Makes Adam or AdamW for the collection "params".

    Batch normalisation statistics and the constants that normalise frames are in other collections and are not trained.

    Args:
      name: one of `OPTIMIZERS`.
      learning_rate: a schedule, or a constant.
      clip_norm: maximum global norm of the gradients. Larger gradients are scaled down to this norm. 0 means no clipping.
      weight_decay: decoupled weight decay for "adamw". Biases and normalisation layers have no weight decay.
      b1: decay of the mean of gradients.
      b2: decay of the mean of squared gradients.
      eps: number that is added to the square root of the mean of squared gradients.
      parts: a dict from parts of the network to factors by which their learning rate and weight decay are multiplied. Factor 0
        freezes a part: the part is excluded from the gradient norm and has no optimizer state. A part is one or more
        consecutive names in the path of a parameter, such as "backbone" (in both encoders), "query_encoder/backbone",
        "backbone/conv_mask", "key_s16" or "decoder". If several parts match a parameter, the part that ends deepest in the path
        applies. If several parts end at the same depth, the longest part applies. Parameters without a match have the factor
        1.

    Raises:
      ConfigError: `name` is unknown, `clip_norm` or `weight_decay` is negative, or `weight_decay` is set for "adam". When the
        optimizer state is created, ConfigError is also raised if a part matches no parameter or if all parameters are frozen.
    """
    if name not in OPTIMIZERS:
        raise ConfigError(f"optimizer is {name!r}, expected one of {', '.join(OPTIMIZERS)}")
    if clip_norm < 0 or weight_decay < 0:
        raise ConfigError(f"clip_norm is {clip_norm} and weight_decay is {weight_decay}, expected values of at least 0")
    if name == "adam" and weight_decay:
        raise ConfigError(
            f"weight_decay is {weight_decay}, but adam has no weight decay. Set the optimizer to adamw, or weight_decay to 0."
        )
    steps = [optax.clip_by_global_norm(clip_norm)] if clip_norm else []
    steps.append(optax.scale_by_adam(b1, b2, eps))
    if weight_decay:
        steps.append(optax.add_decayed_weights(weight_decay, mask=_is_kernel))
    if not parts:
        return optax.chain(*steps, optax.scale_by_learning_rate(learning_rate))
    steps.append(optax.stateless(lambda updates, _: jax.tree.map(jnp.multiply, updates, part_factors(updates, parts))))
    trained = optax.chain(*steps, optax.scale_by_learning_rate(learning_rate))

    def labels(params: Any) -> Any:
        factors = part_factors(params, parts)
        _require_sound(params, factors, parts)
        return jax.tree.map(lambda factor: "trained" if factor else "frozen", factors)

    return optax.partition({"trained": trained, "frozen": optax.set_to_zero()}, labels)


def part_factors(params: Any, parts: Mapping[str, float]) -> Any:
    """Returns the learning rate factor of each parameter; see `make_optimizer`."""

    def factor(path: tuple[Any, ...], _: Any) -> float:
        matching = {reach: part for part in parts if (reach := _reach(_text(path), part))}
        return float(parts[matching[max(matching)]]) if matching else 1.0

    return jax.tree_util.tree_map_with_path(factor, params)


def _reach(path: str, part: str) -> tuple[int, int] | None:
    """Returns the position in a path where a part ends, and the length of the part, both in characters.

    Returns None if the path does not contain the part.
    """
    start = f"/{path}/".rfind(f"/{part}/")
    return None if start < 0 else (start + len(part), len(part))


def _text(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _require_sound(params: Any, factors: Any, parts: Mapping[str, float]) -> None:
    paths = [_text(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    for part in parts:
        if not any(_reach(path, part) for path in paths):
            known = ", ".join(sorted({name for path in paths for name in path.split("/")[:2]}))
            raise ConfigError(
                f"optimizer.parts contains {part!r}, which matches no parameter. Use names in the paths of parameters, such as "
                f"{known}."
            )
    if not any(jax.tree.leaves(factors)):
        raise ConfigError("optimizer.parts freezes all parameters. Remove a part, or set its factor above 0.")


def _is_kernel(params: Any) -> Any:
    return jax.tree.map(lambda x: x.ndim > 1, params)
