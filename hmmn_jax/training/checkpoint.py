"""Checkpoints of a run: written in the background, whole or not at all, the latest and the best kept.

A step's folder, `WORKDIR/checkpoints/STEP`, holds `variables`, which `hmmn_jax.load_checkpoint(WORKDIR)` reads, and `training`,
the rest of the state. What is written is a copy on the host, so nothing depends on the number of devices and processes.
"""

import shutil
import warnings
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from orbax.checkpoint.checkpoint_managers import preservation_policy as policies

from hmmn_jax.checkpoint import STEPS, VARIABLES
from hmmn_jax.errors import CheckpointError
from hmmn_jax.layouts.files import reason
from hmmn_jax.training.train_state import TrainState

TRAINING = "training"
DAMAGED = "damaged"  # folder of the workdir where checkpoints go that cannot be read


class Checkpoints:
    """The checkpoints of one workdir; a context manager, which waits for the last one to be written."""

    def __init__(self, workdir: Path, keep: int = 3, keep_best: int = 1):
        """Opens the folder, and clears away what a killed process left half-written.

        Args:
          workdir: absolute.
          keep: how many of the latest are kept, at least 1.
          keep_best: how many of those with the highest J&F are kept besides.
        """
        self.workdir, self.folder = workdir, workdir / STEPS
        best = policies.BestN(get_metric_fn=_jf, n=keep_best, keep_checkpoints_without_metrics=False)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policies.AnyPreservationPolicy([policies.LatestN(keep), best]),
            best_fn=_jf,
            cleanup_tmp_directories=True,
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        self._manager = ocp.CheckpointManager(self.folder, options=options)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        try:
            self.wait()
        except CheckpointError:
            if kind is None:
                raise
        finally:
            self._manager.close()

    def save(self, state: TrainState, scores: dict[str, float] | None = None) -> None:
        """Copies a state to the host, and goes on to write it in the background.

        Args:
          state: of the device; `scores["jf"]` ranks it among the best.
          scores: of the validation, if there was one.

        Raises:
          CheckpointError: this or the one before cannot be written. Those that are whole stay as they are.
        """
        state = jax.tree.map(lambda x: np.array(x), state)  # a copy: buffers on a CPU would be shared, and then be donated
        trees = {VARIABLES: state.best_variables, TRAINING: _rest(state)}
        step = int(state.step)
        self.wait()
        needed = sum(leaf.nbytes for leaf in jax.tree.leaves(trees))
        if (free := shutil.disk_usage(self.folder).free) < needed:
            raise CheckpointError(self._failed(step, f"it takes {needed:,} bytes, {free:,} are free"))
        args = ocp.args.Composite(**{name: ocp.args.StandardSave(tree) for name, tree in trees.items()})
        try:
            self._manager.save(step, args=args, metrics=scores, force=True)
        except Exception as error:  # Orbax and TensorStore raise many types
            raise CheckpointError(self._failed(step, reason(error))) from error

    def wait(self) -> None:
        """Waits until nothing is being written. Raises CheckpointError if that failed."""
        step = self._manager.latest_step()
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            raise CheckpointError(self._failed(step, reason(error))) from error

    def restore(self, like: TrainState) -> TrainState | None:
        """The latest checkpoint that is whole, on the host, or None if there is none.

        One that cannot be read is warned of and moved away to `WORKDIR/damaged`, where it is in nobody's way.

        Args:
          like: a state of the same structure, shapes and dtypes.

        Raises:
          CheckpointError: there are some, and none can be read.
        """
        steps = sorted(self._manager.all_steps(), reverse=True)
        for step in steps:
            try:
                return read_step(self.folder / str(step), like)
            except CheckpointError as error:
                warnings.warn(f"{error}; passing over to the one before", stacklevel=2)
                self._move_away(step)
        if steps:
            raise CheckpointError(f"{self.folder}: none of the checkpoints can be read; choose another workdir")
        return None

    def _move_away(self, step: int) -> None:
        if jax.process_index() == 0:
            place = self.workdir / DAMAGED
            place.mkdir(exist_ok=True)
            shutil.rmtree(place / str(step), ignore_errors=True)
            (self.folder / str(step)).rename(place / str(step))
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices(f"moved away {step}")
        self._manager.reload()

    def _failed(self, step: int | None, why: str) -> str:
        whole = [other for other in sorted(int(path.name) for path in self.folder.glob("*") if path.name.isdigit())]
        last = f"the last whole one is of step {whole[-1]}" if whole else "there is none before it"
        return f"{self.folder}: the checkpoint of step {step} cannot be written ({why}); {last}; free some space and go on"


def read_step(folder: Path, like: TrainState) -> TrainState:
    """A state from a step's folder, as NumPy arrays. Raises CheckpointError where it is damaged or of another structure."""
    try:
        variables, rest = (
            _read_tree(folder / name, tree) for name, tree in ((VARIABLES, like.best_variables), (TRAINING, _rest(like)))
        )
    except Exception as error:  # Orbax and TensorStore raise many types for a damaged folder
        raise CheckpointError(f"{folder}: not readable as a checkpoint ({reason(error)})") from error
    constants = {name: collection for name, collection in variables.items() if name != "params"}
    average = None if like.ema is None else variables["params"]
    params = variables["params"] if like.ema is None else rest["params"]
    return TrainState(rest["step"], params, constants, rest["opt_state"], average)


def latest_step(workdir: Path) -> Path:
    """The folder of the latest checkpoint of a workdir. Raises CheckpointError if there is none."""
    steps = [path for path in (workdir / STEPS).glob("*") if path.name.isdigit()]
    if not steps:
        raise CheckpointError(f"{workdir}: no checkpoint in {workdir / STEPS}; expected the workdir of a run")
    return max(steps, key=lambda path: int(path.name))


def _rest(state: TrainState) -> dict[str, Any]:
    """What a state has beyond its `best_variables`."""
    rest = {"step": state.step, "opt_state": state.opt_state}
    return rest if state.ema is None else rest | {"params": state.params}


def _read_tree(folder: Path, like: Any) -> Any:
    wanted = jax.tree.map(lambda x: jax.ShapeDtypeStruct(np.shape(x), x.dtype), like)
    restore_args = jax.tree.map(lambda x: ocp.RestoreArgs(restore_type=np.ndarray, dtype=x.dtype), wanted)
    with ocp.PyTreeCheckpointer() as checkpointer:
        found = checkpointer.restore(folder, args=ocp.args.PyTreeRestore(item=wanted, restore_args=restore_args))
    for path, leaf in jax.tree.leaves_with_path(wanted):
        del path, leaf
    jax.tree.map(_require_shape, wanted, found)
    return found


def _require_shape(wanted: jax.ShapeDtypeStruct, found: np.ndarray) -> None:
    if wanted.shape != found.shape:
        raise ValueError(f"a tensor of {found.shape}, expected {wanted.shape}")


def _jf(scores: dict[str, float]) -> float:
    return scores["jf"]
