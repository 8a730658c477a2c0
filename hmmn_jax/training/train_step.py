"""Makes the training step, a pure function of the state and the batch.

A batch is a dict that contains b clips of T frames:
  frames: uint8 RGB `[b,T,H,W,3]`.
  masks: uint8 ids `[b,T,H,W]`, where 0 is the background.
  valid: bool `[b,o]`, whether each of the ids 1..o is an object (True) or padding (False).
  sample: integer `[b]`, the index of each sample in the whole run. The index seeds the random numbers of the sample.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Integer

from hmmn_jax.errors import ConfigError
from hmmn_jax.model import HMMN, HMMNConfig
from hmmn_jax.training.losses import Loss, frame_cross_entropy
from hmmn_jax.training.train_state import TrainState

Batch = dict[str, Any]
Metrics = dict[str, jax.Array]
TrainStep = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]


def make_train_step(
    config: HMMNConfig,
    optimizer: optax.GradientTransformation,
    learning_rate: optax.Schedule,
    *,
    seed: int = 0,
    dropout: float = 0.5,
    hardest_share: optax.Schedule | None = None,
    micro_batches: int = 1,
    ema_decay: float = 0.0,
    axis_name: str | None = None,
    loss: Loss = frame_cross_entropy,
    slots: Sequence[int] = (),
) -> TrainStep:
    """Makes a step that updates the parameters with the gradients of the mean loss over the whole batch.

    Args:
      config: config of the model. `dtype` is the compute dtype; `remat` saves memory but takes more time.
      optimizer: see `make_optimizer`. Gradients are averaged over devices before clipping, so clipping applies to the whole
        batch.
      learning_rate: the schedule of the optimizer, used only for the metrics.
      seed: seed for the dropout of the fine memories (strides 8 and 4).
      dropout: the probability that the fine memory is not read, for each sample, frame and Refine block.
      hardest_share: a schedule from `hardest_share_schedule`. None means that the loss includes all pixels.
      micro_batches: number of equal parts into which a device splits its batch. The parts are processed one after the other, so
        memory is needed for only one part at a time.
      ema_decay: decay of the moving average of the parameters, if the state has a moving average.
      axis_name: name of the axis for means over devices, or None if there is only one device.
      loss: loss of each frame, a function of logits, masks and the fraction of hardest pixels.
      slots: numbers of objects for which gradients are compiled, as branches of one program. Each device uses the smallest
        number that is enough for its clips, so padding a batch to o objects takes no time. Devices with fewer objects wait
        for the other devices. The empty tuple means that gradients are compiled only for o objects.

    Returns:
      `step(state, batch) -> (state, metrics)`. The metrics are `loss`, its parts `loss_frame_1`, `loss_frame_2`, ...,
      `gradient_norm` before clipping, `parameter_norm`, and the `learning_rate` of this step. The losses are means over the
      whole batch.
    """

    def gradients_of(params: Any, constants: Any, batch: Batch, share: Any) -> tuple[Any, jax.Array]:
        keep = memory_coins(seed, batch["sample"], dropout, batch["frames"].shape[1] - 1)

        def loss_of(params: Any) -> tuple[jax.Array, jax.Array]:
            total, losses, _ = clip_loss(config, {"params": params, **constants}, batch, keep, share, loss)
            return total, losses

        (_, losses), gradients = jax.value_and_grad(loss_of, has_aux=True)(params)
        return gradients, losses

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        share = None if hardest_share is None else hardest_share(state.step)
        gradients, losses = _mean_over_parts(
            lambda part: _in_slots(lambda fitted: gradients_of(state.params, state.constants, fitted, share), part, slots),
            batch,
            micro_batches,
        )
        if axis_name is not None:
            gradients, losses = jax.lax.pmean((gradients, losses), axis_name)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        ema = None if state.ema is None else optax.incremental_update(params, state.ema, 1 - ema_decay)
        metrics = {
            "loss": losses.sum(),
            **{f"loss_frame_{t}": loss for t, loss in enumerate(losses, start=1)},
            "gradient_norm": optax.tree.norm(gradients),
            "parameter_norm": optax.tree.norm(params),
            "learning_rate": jnp.asarray(learning_rate(state.step)),
        }
        return state.replace(step=state.step + 1, params=params, opt_state=opt_state, ema=ema), metrics

    return step


def clip_loss(
    config: HMMNConfig,
    variables: dict[str, Any],
    batch: Batch,
    keep: Bool[Array, "b t 2"] | None = None,
    hardest_share: float | Float[Array, ""] | None = None,
    loss: Loss = frame_cross_entropy,
) -> tuple[Float[Array, ""], Float[Array, " t"], Float[Array, "b t o1 H W"]]:
    """Computes the loss of a batch.

    Returns the loss, the mean loss of each frame over the clips, and the logits. The loss is the sum of the mean losses of
    frames 1 to t.
    """
    masks, valid = batch["masks"], batch["valid"]
    ids = jnp.arange(valid.shape[1] + 1, dtype=masks.dtype)
    first = (masks[:, 0, None] == ids[:, None, None]).astype(jnp.float32)
    logits: Any = HMMN(config).apply(variables, batch["frames"], first, valid=valid, keep=keep)
    losses = loss(logits, masks[:, 1:], hardest_share).mean(0)
    return losses.sum(), losses, logits


def memory_coins(seed: int, sample: Integer[Array, " b"], dropout: float, frames: int = 2) -> Bool[Array, "b {frames} 2"]:
    """Decides at random whether the fine memory is read, for each sample, frame (1, 2, ...) and stride (8, 4).

    A value is True with probability 1 - dropout. The random key depends only on seed, sample, frame and stride, so the
    result is the same in any batch, on any device and after a restart.
    """
    # `impl` is set explicitly, because the random numbers of other implementations depend on the shape of the batch.
    root = jax.random.key(seed, impl="threefry2x32")

    def coin(sample: jax.Array, frame: jax.Array, scale: jax.Array) -> jax.Array:
        key = root
        for part in (sample, frame, scale):
            key = jax.random.fold_in(key, part)
        return jax.random.bernoulli(key, 1 - dropout)

    over_scales = jax.vmap(coin, (None, None, 0))
    over_frames = jax.vmap(over_scales, (None, 0, None))
    return jax.vmap(over_frames, (0, None, None))(sample.astype(jnp.uint32), jnp.arange(frames), jnp.arange(2))


def _in_slots(function: Callable[[Batch], Any], batch: Batch, slots: Sequence[int]) -> Any:
    """Calls `function` with `valid` truncated to the smallest of `slots` that is enough for all objects of the batch."""
    if not slots:
        return function(batch)
    most = batch["valid"].shape[1]
    sizes = sorted({size for size in slots if size < most} | {most})
    needed = jnp.where(batch["valid"], jnp.arange(1, most + 1), 0).max()
    branches = [lambda size=size: function({**batch, "valid": batch["valid"][:, :size]}) for size in sizes]
    return jax.lax.switch(jnp.searchsorted(jnp.asarray(sizes), needed), branches)


def _mean_over_parts(function: Callable[[Batch], Any], batch: Batch, parts: int) -> Any:
    """Returns the mean of `function` over equal parts of a batch, and processes the parts one after the other."""
    if parts == 1:
        return function(batch)
    size = batch["sample"].shape[0]
    if size % parts:
        raise ConfigError(
            f"a device's batch of {size} clips cannot be split into {parts} equal micro-batches. Change config.batch or "
            "config.micro_batches."
        )
    split = jax.tree.map(lambda x: x.reshape(parts, size // parts, *x.shape[1:]), batch)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(function, jax.tree.map(lambda x: x[0], split)))
    total, _ = jax.lax.scan(lambda total, part: (jax.tree.map(jnp.add, total, function(part)), None), zeros, split)
    return jax.tree.map(lambda x: x / parts, total)
