"""Performs a complete training run, from a config to trained variables."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import jax
import numpy as np
import optax
from ml_collections import ConfigDict

from hmmn_jax.errors import ConfigError
from hmmn_jax.evaluation.plans import Plan
from hmmn_jax.io import peers
from hmmn_jax.io.buckets import absolute
from hmmn_jax.io.files import user_path
from hmmn_jax.io.shared_folder import require_shared
from hmmn_jax.model import HMMNConfig
from hmmn_jax.ops.canary import warn_if_cpu_is_unsound
from hmmn_jax.training.announcement import describe, peak_memory
from hmmn_jax.training.checkpoint import Checkpoints, is_validated
from hmmn_jax.training.hooks import Hook
from hmmn_jax.training.interruption import Interruption, require_connected
from hmmn_jax.training.losses import Loss, frame_cross_entropy
from hmmn_jax.training.monitor import Monitor
from hmmn_jax.training.optimizer import make_optimizer
from hmmn_jax.training.parallel import AXIS, Parallel, some_devices
from hmmn_jax.training.profile import Profile
from hmmn_jax.training.schedules import (
    Schedule,
    at_sample,
    hardest_share_schedule,
    is_due,
    learning_rate_schedule,
    scaled_for_batch,
)
from hmmn_jax.training.settings import require_settings
from hmmn_jax.training.start import inspect_workdir, starting_state, write_config
from hmmn_jax.training.train_state import TrainState
from hmmn_jax.training.train_step import Batch, TrainStep, make_train_step
from hmmn_jax.training.validation import make_segmenters, validate
from hmmn_jax.training.workdir import hold
from hmmn_jax.training.writer import Writer

OptimizerMaker = Callable[[optax.Schedule], optax.GradientTransformation]
STEP_INPUTS = ("frames", "masks", "valid", "sample")  # the entries of a batch that the step uses; other entries are for display


class RunResult(NamedTuple):
    """The outcome of a run.

    origin: description of the source of the initial state, such as a checkpoint.
    metrics: the last training metrics that were written.
    scores: scores of the last validation; None if there was no validation.
    interrupted: whether a signal stopped the run early. The state of an interrupted run is saved.
    """

    origin: str
    metrics: dict[str, float]
    scores: dict[str, float] | None
    interrupted: bool


def train_and_evaluate(
    config: ConfigDict,
    workdir: str | os.PathLike,
    batches: Callable[[int], Iterator[Batch]],
    validation: Sequence[Plan] = (),
    logged: Mapping[str, Schedule] = MappingProxyType({}),
    *,
    loss: Loss = frame_cross_entropy,
    optimizer: OptimizerMaker | None = None,
    hooks: Sequence[Hook] = (),
    takeover: bool = False,
) -> tuple[TrainState, RunResult]:
    """Trains until `config.samples` clips have been used. If the run was interrupted earlier, this function resumes it.

    All random choices depend only on the config and the step, so a resumed run gives the same result as an uninterrupted run.

    Args:
      config: the config; `hmmn_jax/training/defaults.py` explains the fields.
      workdir: folder of the run, local or in a bucket. A missing folder is created. The run writes `config.json`,
        `checkpoints`, `metrics.jsonl`, `tensorboard` and `pictures` to the workdir.
      batches: a function that takes a step and yields this process's batches, starting at this step. A batch is a dict of NumPy
        arrays; see `train_step`.
      validation: annotated videos for validation, as returned by `find_validation`. Without videos, there is no validation.
      logged: a dict from names to schedules of data settings; the current values are written with the metrics.
      loss: loss of each frame; the default is cross-entropy.
      optimizer: a function that makes the optimizer from the learning rate schedule, instead of `config.optimizer`. A resumed
        run needs the same loss and optimizer. A different optimizer is detected only if the structure of the optimizer state
        differs.
      hooks: hooks to call during the run.
      takeover: whether to take over the workdir from a process that may still be running.

    Returns:
      The last state, with its arrays on the devices, and the outcome of the run.

    Raises:
      ConfigError: the config is invalid or differs from the config of the resumed run, or another run is writing to the
        workdir. If ConfigError is raised, nothing has been written.
      DataError: the workdir contains files that no run of this program recorded, or is not writable.
      CheckpointError: the initial checkpoint does not exist, or a checkpoint cannot be written.
      DivergedError: a metric is not finite, or the mean loss over `config.log_every` samples exceeds
        `config.stop_above`.
    """
    workdir = absolute(user_path(workdir, buckets=True))

    # --- Check the config before writing anything. ---
    require_settings(config)
    model = model_config(config)
    total = config.samples // config.batch
    if total < 1:
        raise ConfigError(f"samples is {config.samples}, expected at least one batch of {config.batch} samples")
    profile = profile_range(config.profile)
    parallel = Parallel(config.parallel, config.batch, config.micro_batches, some_devices(config.devices))
    learning_rate, update = make_optimization(config, total, optimizer)
    train_step = parallel.compile(make_step(config, model, update, learning_rate, loss))
    require_connected()
    begun, resumed = peers.from_first("begun", lambda: inspect_workdir(workdir, config, total))

    warn_if_cpu_is_unsound()

    scores, interrupted = None, False
    with contextlib.ExitStack() as stack:
        guard = stack.enter_context(hold(workdir, begun, takeover)) if begun else None
        if begun:
            require_shared(workdir, guard, "--workdir")

        # --- Find the initial state in this workdir or another run, or create it from given or random variables. ---
        new = not config.resume and not resumed
        data = batches(0) if new else None  # opens the data first, so that missing data is reported before anything is compiled
        state, origin = starting_state(config, model, update, workdir)
        first = int(state.step)
        data = data or batches(first)  # the step determines the position in the data
        if not begun:
            guard = stack.enter_context(hold(workdir, begun, takeover))
            require_shared(workdir, guard, "--workdir")
        peers.begun()
        peers.from_first("configured", lambda: write_config(workdir, model, config))
        if jax.process_index() == 0:
            print(describe(state, origin, parallel, total), flush=True)
        state = parallel.replicate(state)
        traced = profile if profile is not None and profile[0] > first else None

        interruption = stack.enter_context(Interruption())
        checkpoints = stack.enter_context(Checkpoints(workdir, config.checkpoint.keep, config.checkpoint.keep_best))
        writer = stack.enter_context(Writer(workdir, first, hooks))
        trace = stack.enter_context(Profile(workdir / "profile"))
        monitor = Monitor(writer, first, total, config.batch, config.log_every, config.stop_above)
        stack.enter_context(monitor)

        def judged(step: int) -> bool:
            """Validates the state after a step, and adds the scores to the checkpoint of this step.

            Returns whether the validation was interrupted.
            """
            nonlocal scores
            found = judge(state, step, model, validation, config.validation, writer, interruption.is_asked)
            if found is None:
                return True
            scores = found
            checkpoints.score(step, scores)
            monitor.say(f"step {step}: " + ", ".join(f"{name} {value:.3f}" for name, value in scores.items()))
            return False

        # --- Validate the first state if an earlier run ended between saving and validating it. ---
        due = bool(validation and first) and (first == total or is_due(first, config.batch, config.validation.every))
        if due and not peers.from_first("validated", lambda: is_validated(workdir, first)):
            with monitor.apart():
                interrupted = judged(first)
        for step in () if interrupted else range(first + 1, total + 1):
            if guard is not None:
                guard.require()
            # --- Start the step. The metrics of a step are fetched while the next step runs. ---
            if traced and step == traced[0]:
                monitor.flush()
                trace.start()
            with monitor.waiting_for_input():
                batch = next(data)
            state, metrics = train_step(state, parallel.shard({name: batch[name] for name in STEP_INPUTS}))
            sample = (step - 1) * config.batch
            monitor.after(step, batch, metrics, **{name: at_sample(schedule, sample) for name, schedule in logged.items()})
            if traced and step == traced[1]:
                monitor.flush()
                trace.stop()
            if step == first + 1:
                monitor.flush()
                monitor.restart_clock()  # excludes the time of compilation
                monitor.say(peak_memory())
                peers.save_on_termination()  # before the first step, there is nothing to save

            # --- At intervals, save a checkpoint, then validate. ---
            last = step == total
            interrupted = (interrupted or interruption.reached(step)) and not last
            validating = bool(validation) and (last or is_due(step, config.batch, config.validation.every)) and not interrupted
            if last or interrupted or validating or is_due(step, config.batch, config.checkpoint.every):
                monitor.flush()  # raises an error if a metric is not finite, so the state is not saved
                writer.flush()  # a resumed run starts after this step, so it does not write the metrics of this step again
                with monitor.apart():
                    saved = checkpoints.save(state)
                    if saved:
                        writer.saved(state)
                    if validating:
                        checkpoints.wait()  # finish the checkpoint first, because the process may be killed during validation
                        interrupted = judged(step)
                if interrupted and saved:
                    break
    return state, RunResult(origin, monitor.last, scores, interrupted)


def judge(
    state: TrainState,
    step: int,
    model: HMMNConfig,
    validation: Sequence[Plan],
    settings: ConfigDict,
    writer: Writer,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, float] | None:
    """Validates a state on all devices and writes the results.

    Returns the scores, or None if `stop` returned True.
    """
    variables = jax.tree.map(np.asarray, state.ema_variables)
    segmenters = make_segmenters(variables, model, settings.mem_every, len(validation))
    result = validate(segmenters, validation, settings.size, stop)
    if result is None:
        return None
    writer.scalars(step, {f"validation/{name}": value for name, value in (result.scores | result.sequences).items()})
    if result.sheet is not None:
        writer.picture(step, "validation", result.sheet)
    writer.flush()
    return result.scores


def model_config(config: ConfigDict) -> HMMNConfig:
    """Creates the model config from a training config. Raises ConfigError for invalid values."""
    try:
        return HMMNConfig.from_dict(config.model.to_dict())
    except ValueError as error:
        raise ConfigError(f"config.model: {error}") from error


def make_optimization(
    config: ConfigDict, total: int, maker: OptimizerMaker | None = None
) -> tuple[optax.Schedule, optax.GradientTransformation]:
    """Returns the learning rate schedule and the optimizer. `maker`, if given, makes the optimizer."""
    rate = config.learning_rate
    learning_rate = learning_rate_schedule(
        rate.schedule,
        rate.peak * (scaled_for_batch(config.batch, rate.for_batch) if rate.for_batch else 1.0),
        total,
        rate.warmup // config.batch,
        power=rate.power,
        boundaries=rate.boundaries,
        factor=rate.factor,
        end=rate.end,
    )
    if maker is not None:
        return learning_rate, maker(learning_rate)
    return learning_rate, make_optimizer(learning_rate=learning_rate, **config.optimizer.to_dict())


def make_step(
    config: ConfigDict,
    model: HMMNConfig,
    optimizer: optax.GradientTransformation,
    learning_rate: optax.Schedule,
    loss: Loss = frame_cross_entropy,
) -> TrainStep:
    """Makes the training step for a config, as a pure function that can be passed to `Parallel.compile`."""
    hardest = config.hardest
    return make_train_step(
        model,
        optimizer,
        learning_rate,
        seed=config.seed,
        dropout=config.dropout,
        hardest_share=hardest_share_schedule(hardest.share, hardest.start // config.batch, hardest.end // config.batch),
        micro_batches=config.micro_batches,
        ema_decay=config.ema_decay,
        axis_name=AXIS,
        loss=loss,
        slots=config.slots,
    )


def profile_range(text: str) -> tuple[int, int] | None:
    """Parses `START:STOP`, the first and the last step of a trace. Returns None for "".

    Raises ConfigError if the text is invalid.
    """
    if not text:
        return None
    start, _, stop = text.partition(":")
    if not (start.isdigit() and stop.isdigit() and 1 <= int(start) <= int(stop)):
        raise ConfigError(f"profile is {text!r}, expected START:STOP with START <= STOP, such as 10:15")
    return int(start), int(stop)
