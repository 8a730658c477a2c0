"""Schedules for the learning rate and for the fraction of pixels in the loss."""

import math
from collections.abc import Sequence

import optax

from hmmn_jax.errors import ConfigError

SCHEDULES = ("constant", "poly", "step", "cosine")
Schedule = Sequence[tuple[int, float | int]]  # ((first sample, value), ...), sorted; the first pair starts at sample 0


def at_sample(schedule: Schedule, sample: int) -> float:
    """Returns the value of the schedule ((first sample, value), ...) at a sample."""
    return float(next(value for first, value in reversed(schedule) if first <= sample))


def is_due(step: int, batch: int, every: int) -> bool:
    """Returns whether an action with an interval of `every` samples is due at the end of a step. Steps are numbered from 1."""
    return step * batch // every > (step - 1) * batch // every


def scaled_for_batch(batch: int, for_batch: int) -> float:
    """Returns a factor that adapts a learning rate chosen for `for_batch` clips per step to batches of `batch` clips.

    The factor is the square root of batch / for_batch, as in the rule for Adam in "On the SDEs and Scaling Rules for Adaptive
    Gradient Algorithms" (Malladi et al., NeurIPS 2022). Unlike the rule by Malladi et al., this function leaves Adam's decay
    rates unchanged. The factor has not been tested with the model in the HMMN paper.
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
    """Returns the learning rate as a function of the step: a linear warm-up to `peak`, followed by one of `SCHEDULES`.

    Steps are numbered from 0.

    Args:
      name: "constant", "poly", "step" or "cosine". In the schedule "poly", the difference from the final learning rate is
        proportional to (1 - progress)^power, where progress is the fraction of the steps after the warm-up that are completed.
        The schedule "step" multiplies the learning rate by `factor` at each of `boundaries`.
      peak: the learning rate after the warm-up.
      total_steps: number of steps in the whole run, including the warm-up.
      warmup_steps: number of warm-up steps. In step i of the warm-up, the learning rate is (i + 1) / (warmup_steps + 1)
        times `peak`, so the learning rate is never 0.
      power: exponent of "poly".
      boundaries: for "step", the ascending fractions of `total_steps` at which the learning rate changes.
      factor: for "step", the factor applied at each boundary.
      end: for "poly" and "cosine", the final value as a fraction of `peak`.

    Raises:
      ConfigError: the name is unknown, or a number is invalid.
    """
    if name not in SCHEDULES:
        raise ConfigError(f"learning rate schedule is {name!r}, expected one of {', '.join(SCHEDULES)}")
    if not 0 <= warmup_steps < total_steps:
        raise ConfigError(
            f"warm-up takes {warmup_steps} of {total_steps} steps, expected at least 0 steps and fewer than all steps"
        )
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
    """Returns the schedule for the fraction of each frame's pixels that the loss uses.

    The fraction is 1 until step `start` and then decreases linearly to `share` at step `end`. If `share` is 1, returns None:
    the loss then uses all pixels. STCN uses a share of 0.15, a start at step 20,000 and an end at step 70,000.

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
