"""Checkpoints of a run: written in the background, whole or not at all, the latest and the best kept.

A step's folder, `WORKDIR/checkpoints/STEP`, holds `variables`, which `hmmn_jax.load_checkpoint(WORKDIR)` reads, and `training`,
the rest of the state. What is written is a copy on the host, so nothing depends on the number of devices and processes.
"""

import contextlib
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from orbax.checkpoint.checkpoint_managers import preservation_policy as policies

from hmmn_jax.checkpoint import STEPS, VARIABLES
from hmmn_jax.errors import CheckpointError
from hmmn_jax.layouts.files import reason, writing_errors
from hmmn_jax.training.train_state import TrainState

TRAINING = "training"
DAMAGED = "damaged"  # folder of the workdir where checkpoints go that cannot be read


class Checkpoints:
    """Writes the checkpoints of one workdir; a context manager, which waits for the last one."""

    def __init__(self, workdir: Path, keep: int, keep_best: int):
        """Makes the folder, and clears away what a killed process left half-written.

        Args:
          workdir: absolute.
          keep: how many of the latest are kept, at least 1.
          keep_best: how many of those with the highest J&F are kept besides.
        """
        self.folder = workdir / STEPS
        best = policies.BestN(get_metric_fn=_jf, n=keep_best, keep_checkpoints_without_metrics=False)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policies.AnyPreservationPolicy([policies.LatestN(keep), best]),
            best_fn=_jf,
            cleanup_tmp_directories=True,
        )
        with writing_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._manager = ocp.CheckpointManager(self.folder, options=options)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        try:
            self.wait()
            self._manager.close()
        except CheckpointError:
            if kind is None:
                raise

    def save(self, state: TrainState, scores: dict[str, float] | None = None) -> None:
        """Copies a state to the host, and goes on to write it in the background.

        Args:
          state: on the devices.
          scores: of its validation, if there was one; `scores["jf"]` ranks it.

        Raises:
          CheckpointError: this one or the one before cannot be written. Those that are whole stay as they are.
        """
        self.wait()
        state = jax.tree.map(lambda x: np.array(x), state)  # a copy: on a CPU a view would be of a buffer to be donated
        trees = {VARIABLES: state.best_variables, TRAINING: _rest(state)}
        step, needed = int(state.step), sum(leaf.nbytes for leaf in jax.tree.leaves(trees))
        if (free := shutil.disk_usage(self.folder).free) < needed:  # Orbax would print pages from its threads
            raise CheckpointError(self._failed(step, f"it takes {needed:,} bytes, {free:,} are free"))
        args = ocp.args.Composite(**{name: ocp.args.StandardSave(tree) for name, tree in trees.items()})
        with self._told_in_one_line(step):
            self._manager.save(step, args=args, metrics=scores, force=True)

    def wait(self) -> None:
        """Waits until nothing is being written. Raises CheckpointError if that failed."""
        with self._told_in_one_line(self._manager.latest_step()):
            self._manager.wait_until_finished()

    @contextlib.contextmanager
    def _told_in_one_line(self, step: int | None) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # Orbax and TensorStore raise many types
            raise CheckpointError(self._failed(step, reason(error))) from error

    def _failed(self, step: int | None, why: str) -> str:
        whole = finished_steps(self.folder.parent)
        last = f"the last whole one is of step {whole[-1]}" if whole else "there is none before it"
        return f"{self.folder}: the checkpoint of step {step} cannot be written ({why}); {last}; free some space, then go on"


def finished_steps(workdir: Path) -> list[int]:
    """The steps of which a workdir has checkpoints, in order."""
    return sorted(int(path.name) for path in (workdir / STEPS).glob("*") if path.name.isdigit())


def restore_latest(workdir: Path, like: TrainState) -> TrainState | None:
    """The latest checkpoint of a workdir that is whole, as NumPy arrays, or None if there are none.

    One that cannot be read is warned of and moved to `WORKDIR/damaged`, where it is in nobody's way.

    Args:
      workdir: absolute.
      like: a state of the same structure, shapes and dtypes.

    Raises:
      CheckpointError: there are checkpoints, and none can be read.
    """
    steps = finished_steps(workdir)
    for step in reversed(steps):
        try:
            return read_step(workdir, step, like)
        except CheckpointError as error:
            warnings.warn(f"{error}; moved to {workdir / DAMAGED}, going back to the one before", stacklevel=2)
            _move_away(workdir, step)
    if steps:
        raise CheckpointError(f"{workdir / STEPS}: none of {len(steps)} checkpoints could be read; begin in another workdir")
    return None


def read_step(workdir: Path, step: int, like: TrainState) -> TrainState:
    """The state after a step, as NumPy arrays. Raises CheckpointError where it is damaged, or not `like` that state."""
    folder = workdir / STEPS / str(step)
    try:
        variables = _read_tree(folder / VARIABLES, like.best_variables)
        rest = _read_tree(folder / TRAINING, _rest(like))
    except Exception as error:  # Orbax and TensorStore raise many types for a damaged folder
        raise CheckpointError(f"{folder}: not readable as a checkpoint ({reason(error)})") from error
    constants = {name: collection for name, collection in variables.items() if name != "params"}
    params, average = (variables["params"], None) if like.ema is None else (rest["params"], variables["params"])
    return TrainState(rest["step"], params, constants, rest["opt_state"], average)


def _rest(state: TrainState) -> dict[str, Any]:
    """What a state has beyond its `best_variables`."""
    rest = {"step": state.step, "opt_state": state.opt_state}
    return rest if state.ema is None else rest | {"params": state.params}


def _read_tree(folder: Path, like: Any) -> Any:
    restore_args = jax.tree.map(lambda x: ocp.RestoreArgs(restore_type=np.ndarray), like)
    with ocp.PyTreeCheckpointer() as checkpointer:
        found = checkpointer.restore(folder, args=ocp.args.PyTreeRestore(item=like, restore_args=restore_args))
    jax.tree.map(_require_shape, like, found)
    return found


def _require_shape(like: Any, found: np.ndarray) -> None:
    if (like.shape, like.dtype) != (found.shape, found.dtype):
        raise ValueError(f"a tensor is {found.dtype} {found.shape}, expected {like.dtype} {like.shape}")


def _move_away(workdir: Path, step: int) -> None:
    if jax.process_index() == 0:
        place = workdir / DAMAGED / str(step)
        place.parent.mkdir(exist_ok=True)
        shutil.rmtree(place, ignore_errors=True)
        (workdir / STEPS / str(step)).rename(place)
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(f"moved step {step} away")


def _jf(scores: dict[str, float]) -> float:
    return scores["jf"]
