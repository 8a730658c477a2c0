"""Writes and reads the checkpoints of a run.

Checkpoints are written atomically in the background. The latest and the best checkpoints are kept. Each checkpoint is a folder
`WORKDIR/checkpoints/STEP`. `hmmn_jax.load_checkpoint(WORKDIR)` reads the subfolder `variables` of a checkpoint. The subfolder
`training` contains all other arrays of the state. Checkpoints are written from a copy on the host, so checkpoints do not depend
on the number of devices or processes.
"""

import contextlib
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy as policies

from hmmn_jax.checkpoints.steps import RECORDS, STEPS, VARIABLES, finished_steps, is_finalized, ranked_steps, step_record
from hmmn_jax.checkpoints.store import quiet_orbax
from hmmn_jax.errors import CheckpointError
from hmmn_jax.io import peers
from hmmn_jax.io.buckets import AnyPath, is_bucket
from hmmn_jax.io.files import bucket_errors, discard, discard_empty, reason, require_space, shortlist, writing_errors
from hmmn_jax.io.local_copy import local_copy
from hmmn_jax.io.new_file import move_into
from hmmn_jax.io.notes import note
from hmmn_jax.io.objects import objects, remove
from hmmn_jax.training.train_state import TrainState

TRAINING = "training"
_TEMPORARY = ".orbax-checkpoint-tmp"  # the suffix that Orbax adds to the name of an incomplete folder
_WRITTEN = {VARIABLES, TRAINING, "_CHECKPOINT_METADATA", "commit_success.txt"}  # names that Orbax uses in a checkpoint
DAMAGED = "damaged"  # subfolder of the workdir for checkpoints that cannot be read


class Checkpoints:
    """Writes the checkpoints of a workdir. The context manager waits for pending writes on exit.

    A folder in `WORKDIR/checkpoints` that is not recorded as written by the run is ignored and not changed.
    """

    def __init__(self, workdir: AnyPath, keep: int, keep_best: int):
        """Creates `WORKDIR/checkpoints`, and removes incomplete files left by a killed process.

        Args:
          workdir: absolute path of the workdir.
          keep: number of latest checkpoints to keep, at least 1.
          keep_best: number of best checkpoints to keep, ranked by J&F, in addition to the latest checkpoints.
        """
        self.workdir, self.folder, self.keep, self.keep_best = workdir, workdir / STEPS, keep, keep_best
        self._writing: tuple[int, dict[str, float] | None] | None = (
            None  # the step that is currently being written, and its scores
        )
        options = ocp.CheckpointManagerOptions(preservation_policy=policies.PreserveAll())
        with writing_errors(self.folder), bucket_errors(self.folder):
            for folder in (self.folder, workdir / RECORDS):
                folder.mkdir(parents=True, exist_ok=True)
            self._clear_away()
            self._foreign = set(peers.from_first("foreign", lambda: sorted(foreign_steps(workdir))))
            self._manager = ocp.CheckpointManager(self.folder, options=options)
        if self._foreign and jax.process_index() == 0:
            note(
                f"{self.folder}: these paths were not written by this run: {shortlist(sorted(map(str, self._foreign)))}. "
                "The run ignores them."
            )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        try:
            self.wait()
            self._manager.close()
        except CheckpointError:
            if kind is None:
                raise

    def save(self, state: TrainState, scores: dict[str, float] | None = None) -> bool:
        """Copies a state to the host and writes the copy in the background.

        Args:
          state: the state on the devices.
          scores: the validation scores of this state, if available. Checkpoints are ranked by `scores["jf"]`.

        Returns:
          False if the folder of this step exists and was not written by the run. Otherwise, the state is saved, and the result
          is True.

        Raises:
          CheckpointError: this checkpoint or the previous checkpoint cannot be written. Complete checkpoints are not changed.
        """
        self.wait()
        step = int(state.step)
        if step in self._foreign:
            if jax.process_index() == 0:
                note(f"step {step} is not saved, because {self.folder / str(step)} was not written by this run")
            return False
        state = jax.tree.map(lambda x: np.array(x), state)  # a copy, because a view would share a buffer that is donated later
        trees = {VARIABLES: state.ema_variables, TRAINING: _rest(state)}
        needed = sum(leaf.nbytes for leaf in jax.tree.leaves(trees))
        args = ocp.args.Composite(**{name: ocp.args.StandardSave(tree) for name, tree in trees.items()})
        with self._told_in_one_line(step):
            require_space(self.folder, needed)
            if jax.process_index() == 0:
                step_record(self.workdir, step).adopt((), None)
            self._writing = step, scores
            self._manager.save(step, args=args, force=True)
        return True

    def score(self, step: int, scores: dict[str, float]) -> None:
        """Adds validation scores to the saved checkpoint of a step, if this checkpoint still exists.

        Raises CheckpointError if the scores cannot be written.
        """
        if self._writing is not None and self._writing[0] == step:
            self._writing = step, scores
        if self._writing is None and jax.process_index() == 0 and step in finished_steps(self.workdir):
            with self._told_in_one_line(step):
                record_step(self.workdir, step, scores)

    def wait(self) -> None:
        """Waits for pending writes, then deletes all checkpoints except the latest and the best.

        Raises CheckpointError on failure.
        """
        if self._writing is None:
            return
        (step, scores), self._writing = self._writing, None
        with self._told_in_one_line(step):
            self._manager.wait_until_finished()
            if jax.process_index() == 0:
                record_step(self.workdir, step, scores)
                self._delete_old()

    def _delete_old(self) -> None:
        steps = finished_steps(self.workdir)
        best = ranked_steps(self.workdir, steps)
        for step in set(steps) - set(steps[-self.keep :]) - set(best[len(best) - self.keep_best :] if self.keep_best else ()):
            folder = self.folder / str(step)
            step_record(self.workdir, step).discard()
            if not is_bucket(folder):
                _remove_empty(folder)
            if folder.exists():
                note(f"{folder} contains files that were changed or that this run did not write. These files are kept.")

    def _clear_away(self) -> None:
        """Removes incomplete files left by a killed process, and adds missing records of complete checkpoints."""
        if jax.process_index() > 0:
            return
        for path in (self.workdir / RECORDS).glob("[0-9]*.json"):
            if not re.fullmatch("0|[1-9][0-9]{0,19}", path.stem):
                continue  # not a record that this program wrote
            step = int(path.stem)
            whole, folder = step_record(self.workdir, step).about is not None, self.folder / str(step)
            if folder.is_dir() and is_finalized(folder):
                if not whole:
                    record_step(self.workdir, step, None)
                continue
            if whole and folder.is_dir():
                continue  # in a bucket, the user removed the file that marks the checkpoint as complete; keep the other files
            halves = [folder] if is_bucket(folder) else self.folder.glob(f"{step}{_TEMPORARY}*")
            for half in halves:
                _discard_written(half)
            path.unlink()

    @contextlib.contextmanager
    def _told_in_one_line(self, step: int | None) -> Iterator[None]:
        try:
            yield
        except CheckpointError:  # this error already has a one-line message
            raise
        except Exception as error:  # Orbax and TensorStore raise many exception types
            if peers.is_lost_connection(error):  # the cause is a process that has ended, not a disk error
                raise
            raise CheckpointError(self._failed(step, reason(error))) from error

    def _failed(self, step: int | None, why: str) -> str:
        whole = finished_steps(self.folder.parent)
        last = f"The last complete checkpoint is that of step {whole[-1]}" if whole else "No complete checkpoint exists"
        fix = "Free some space, then run the command again."
        return f"{self.folder}: the checkpoint of step {step} cannot be written ({why}). {last}. {fix}"


def foreign_steps(workdir: AnyPath) -> set[int]:
    """Returns the steps whose checkpoint path exists but was not written by the run."""
    with bucket_errors(workdir):
        there = [path.name for path in (workdir / STEPS).glob("*")]
        recorded = {path.stem for path in (workdir / RECORDS).glob("*.json")}  # including records of incomplete checkpoints
    names = (re.fullmatch(rf"([0-9]{{1,20}})({re.escape(_TEMPORARY)}.*)?", name) for name in there)
    return {int(name[1]) for name in names if name and name[1] not in recorded} - set(finished_steps(workdir))


def require_free_step(workdir: AnyPath, step: int) -> None:
    """Raises CheckpointError if the checkpoint path of a step exists and was not written by the run."""
    if step in foreign_steps(workdir):
        raise CheckpointError(
            f"{workdir / STEPS / str(step)} was not written by this run, but the run needs this path for its last checkpoint. "
            "Move the existing file or folder elsewhere."
        )


def is_validated(workdir: AnyPath, step: int) -> bool:
    """Returns whether the checkpoint of a step has scores. The result is also True for a checkpoint that does not exist."""
    return step not in finished_steps(workdir) or (step_record(workdir, step).about or {}).get("scores") is not None


def record_step(workdir: AnyPath, step: int, scores: dict[str, float] | None) -> None:
    """Records the files and the scores of a complete checkpoint."""
    record = step_record(workdir, step)
    record.adopt(_written_files(record.root), {"scores": scores})


def _written_files(folder: AnyPath) -> list[str]:
    """Returns the sorted paths of the files that Orbax wrote to the folder of a step, relative to this folder."""
    if is_bucket(folder):
        with bucket_errors(folder):
            return [name for name in objects(folder) if name.partition("/")[0] in _WRITTEN]
    return sorted(path.relative_to(folder).as_posix() for path in _written(folder) if path.is_file())


def _discard_written(folder: AnyPath) -> None:
    """Removes Orbax's files from an incomplete checkpoint."""
    if is_bucket(folder):
        remove(folder / name for name in _written_files(folder))
        return
    for file in _written(folder):
        if not file.is_dir():
            discard(file)
    _remove_empty(folder)


def _written(folder: Path) -> list[Path]:
    """Returns the files and folders that Orbax wrote to the folder of a step, recognised by their names."""
    tops = [path for path in folder.glob("*") if path.name.partition(_TEMPORARY)[0] in _WRITTEN]
    return [*tops, *(path for top in tops if not top.is_symlink() for path in top.rglob("*"))]


def _remove_empty(folder: Path) -> None:
    """Removes the empty folders that Orbax created in the folder of a step, and then this folder itself if it is empty."""
    for place in [*sorted((path for path in _written(folder) if path.is_dir()), reverse=True), folder]:
        discard_empty(place)


def restore_latest(workdir: AnyPath, like: TrainState) -> TrainState | None:
    """Reads the latest readable checkpoint of a workdir as NumPy arrays. Returns None if the workdir has no checkpoint.

    Checkpoints of later steps that cannot be read are moved to `WORKDIR/damaged` with a warning. Folders that the run did not
    record are ignored. With several processes, the first process chooses the step. No checkpoint is moved until all other
    processes have read the checkpoint of this step.

    Args:
      workdir: absolute path of the workdir.
      like: a state with the structure, shapes and dtypes of the saved state.

    Raises:
      CheckpointError: there are checkpoints, but the first process can read none of them, or another process cannot read the
        checkpoint that the first process chose. If CheckpointError is raised, no checkpoint has been moved.
    """
    state: TrainState | None = None
    damaged: dict[int, CheckpointError] = {}

    def find() -> int | None:
        nonlocal state
        for step in reversed(finished_steps(workdir)):
            try:
                state = read_step(workdir, step, like)
                return step
            except CheckpointError as error:
                damaged[step] = error
        if damaged:
            raise CheckpointError(
                f"none of the {len(damaged)} checkpoints could be read: {damaged[max(damaged)]}. No checkpoint was moved. "
                "Choose another workdir."
            )
        return None

    step = peers.from_first("step", find)
    if step is None:
        return None
    failure = ""
    if state is None:
        try:
            state = read_step(workdir, step, like)
        except CheckpointError as error:
            failure = str(error)
    failures = peers.from_all("restored", failure)
    if wrong := [f"process {i}: {found}" for i, found in enumerate(failures) if found]:
        raise CheckpointError(f"step {step} was read by process 0, but not by {wrong[0]}. No checkpoint was moved.")
    for later, damage in damaged.items():
        warnings.warn(
            f"{damage}. The checkpoint was moved to {workdir / DAMAGED}, and the previous checkpoint is used.", stacklevel=2
        )
        _move_away(workdir, later)
    peers.from_first("moved", lambda: None)
    return state


def read_step(workdir: AnyPath, step: int, like: TrainState) -> TrainState:
    """Reads the checkpoint of a step, and returns the state as NumPy arrays.

    Raises CheckpointError if the checkpoint is damaged, or its structure, shapes or dtypes differ from those of `like`.
    """
    folder = workdir / STEPS / str(step)
    try:
        with quiet_orbax(), local_copy(folder) as local:
            variables = _read_tree(local / VARIABLES, like.ema_variables)
            rest = _read_tree(local / TRAINING, _rest(like))
    except Exception as error:  # Orbax and TensorStore raise many exception types for a damaged folder
        raise CheckpointError(f"{folder} cannot be read as a checkpoint: {reason(error)}") from error
    constants = {name: collection for name, collection in variables.items() if name != "params"}
    params, average = (variables["params"], None) if like.ema is None else (rest["params"], variables["params"])
    return TrainState(rest["step"], params, constants, rest["opt_state"], average)


def _rest(state: TrainState) -> dict[str, Any]:
    """Returns the fields of a state that `ema_variables` does not contain."""
    rest = {"step": state.step, "opt_state": state.opt_state}
    return rest if state.ema is None else rest | {"params": state.params}


def _read_tree(folder: Path, like: Any) -> Any:
    restore_args = jax.tree.map(lambda x: ocp.RestoreArgs(restore_type=np.ndarray), like)
    alone = {"primary_host": jax.process_index(), "active_processes": {jax.process_index()}}
    options = ocp.options.MultiprocessingOptions(**alone, barrier_sync_key_prefix=f"process{jax.process_index()}")
    handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=options)
    with ocp.Checkpointer(handler, multiprocessing_options=options) as checkpointer:  # does not wait for other processes
        found = checkpointer.restore(folder, args=ocp.args.PyTreeRestore(item=like, restore_args=restore_args))
    jax.tree.map(_require_shape, like, found)
    return found


def _require_shape(like: Any, found: np.ndarray) -> None:
    if (like.shape, like.dtype) != (found.shape, found.dtype):
        raise ValueError(f"a tensor is {found.dtype} of shape {found.shape}, expected {like.dtype} of shape {like.shape}")


def _move_away(workdir: AnyPath, step: int) -> None:
    with writing_errors(workdir / DAMAGED), bucket_errors(workdir / DAMAGED):
        move_into(workdir / STEPS / str(step), workdir / DAMAGED)
        (workdir / RECORDS / f"{step}.json").unlink(missing_ok=True)
