"""Schedules of a run: the learning rate and the fraction of pixels in the loss."""

import math
from collections.abc import Sequence

import optax

from hmmn_jax.errors import ConfigError

SCHEDULES = ("constant", "poly", "step", "cosine")
Schedule = Sequence[tuple[int, float | int]]  # ((first sample, value), ...), in order, from sample 0 on


def at_sample(schedule: Schedule, sample: int) -> float:
    """The value of the schedule ((first sample, value), ...) at a sample."""
    return float(next(value for first, value in reversed(schedule) if first <= sample))


def is_due(step: int, batch: int, every: int) -> bool:
    """Whether an action with an interval of `every` samples is due at the end of a step. The first step is 1."""
    return step * batch // every > (step - 1) * batch // every


def scaled_for_batch(batch: int, for_batch: int) -> float:
    """The factor by which a learning rate for batches of `for_batch` clips is multiplied if the batch has `batch` clips.

    It is the square root of their ratio, the rule for Adam of Malladi et al., On the SDEs and Scaling Rules for Adaptive
    Gradient Algorithms, NeurIPS 2022, without changes of Adam's decays. It was not measured with the model of the paper.
    """
    return math.sqrt(batch / for_batch)


def learning_rate_schedule(
    name: str,
    peak: float,
    total_steps: int,
    warmup_steps: int = 0,
    *,
    power: float = 0.9,
    boundaries: Sequence[float] = (),
    factor: float = 0.1,
    end: float = 0.0,
) -> optax.Schedule:
    """A function of the step (from 0): linear warm-up to `peak`, then one of `SCHEDULES` over the remaining steps.

    Args:
      name: "constant"; "poly": (1 - progress)^power; "step": times `factor` at each of `boundaries`; "cosine".
      peak: the learning rate after the warm-up.
      total_steps: steps of the whole run, including warm-up.
      warmup_steps: step i of the warm-up has (i + 1) / (warmup_steps + 1) of `peak`, so the learning rate is never 0.
      power: exponent of "poly".
      boundaries: steps of "step" as fractions of `total_steps`, ascending.
      factor: factor of "step" at each boundary.
      end: final value of "poly" and "cosine" as a fraction of `peak`.

    Raises:
      ConfigError: the name is unknown, or a number is invalid.
    """
    if name not in SCHEDULES:
        raise ConfigError(f"learning rate schedule is {name!r}, expected one of {', '.join(SCHEDULES)}")
    if not 0 <= warmup_steps < total_steps:
        raise ConfigError(f"warm-up takes {warmup_steps} of {total_steps} steps, expected at least 0 and fewer than all")
    if list(boundaries) != sorted(boundaries) or not all(0 < boundary < 1 for boundary in boundaries):
        raise ConfigError(
            f"boundaries of the step schedule are {tuple(boundaries)}, expected increasing fractions between 0 and 1"
        )
    rest = total_steps - warmup_steps
    if name == "constant":
        schedule = optax.constant_schedule(peak)
    elif name == "poly":
        schedule = optax.polynomial_schedule(peak, end * peak, power, rest)
    elif name == "step":
        steps = {round(boundary * total_steps) - warmup_steps: factor for boundary in boundaries}
        schedule = optax.piecewise_constant_schedule(peak, steps)
    else:
        schedule = optax.cosine_decay_schedule(peak, rest, alpha=end)
    if not warmup_steps:
        return schedule
    warmup = optax.linear_schedule(peak / (warmup_steps + 1), peak, warmup_steps)
    return optax.join_schedules([warmup, schedule], [warmup_steps])


def hardest_share_schedule(share: float, start: int, end: int) -> optax.Schedule | None:
    """The fraction of each frame's pixels in the loss: 1 until step `start`, then linear to `share` at step `end`.

    STCN uses a share of 0.15, a start at 20,000 and an end at 70,000. Returns None, which means all pixels, if `share` is 1.

    Raises:
      ConfigError: the share is outside (0, 1], or the end is not after the start.
    """
    if not 0 < share <= 1:
        raise ConfigError(f"hardest share is {share}, expected more than 0 and at most 1")
    if share == 1:
        return None
    if not 0 <= start < end:
        raise ConfigError(f"hardest share is reduced from step {start} to step {end}, but the end must be after the start")
    return optax.linear_schedule(1.0, share, end - start, start)
