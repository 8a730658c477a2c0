"""Finds the checkpoints of a training workdir, and reads their validation scores.

A run writes each checkpoint to `WORKDIR/checkpoints/STEP`. The run records the files and the scores of the checkpoint in
`WORKDIR/record/checkpoints/STEP.json`.
"""

from collections.abc import Sequence
from typing import Any, Literal

from hmmn_jax.errors import CheckpointError, DataError
from hmmn_jax.io.buckets import AnyPath
from hmmn_jax.io.files import bucket_errors, is_link, shortlist
from hmmn_jax.io.record import Record

STEPS = "checkpoints"
RECORDS = "record/checkpoints"
VARIABLES = "variables"  # `load_checkpoint` reads this folder of a checkpoint
BEST = "best"


def find_step(workdir: AnyPath, step: int | Literal["best"] | None = None) -> int:
    """Returns the step of the selected checkpoint.

    Args:
      workdir: the workdir of a training run.
      step: a number, "best" for the step with the highest validation J&F among the existing
        checkpoints, or None for the latest step.

    Raises:
      CheckpointError: the step does not exist. The message lists the existing steps.
    """
    steps = [found for found in finished_steps(workdir) if (workdir / STEPS / str(found) / VARIABLES).is_dir()]
    if not steps:
        found = f"the folder contains neither a folder {VARIABLES} nor a complete step in a folder {STEPS}"
        raise CheckpointError(f"{workdir}: {found}. Writing may have been interrupted. Choose another checkpoint")
    if step is None:
        return steps[-1]
    known = shortlist([str(found) for found in reversed(steps)])
    if step == BEST:
        if not (ranked := ranked_steps(workdir, steps)):
            raise CheckpointError(f"{workdir}: no checkpoint was validated. Pass one of these steps: {known}")
        return ranked[-1]
    if step not in steps:
        raise CheckpointError(f"{workdir}: step {step} has no checkpoint. Pass one of these steps: {known}")
    return int(step)


def finished_steps(workdir: AnyPath) -> list[int]:
    """Lists the steps that have a complete checkpoint in a training workdir.

    Only steps that the run recorded are listed, because a user may have added other folders. Runs of older versions have no
    records, so all complete steps of these runs are listed. Complete steps are those that Orbax has finalized. In a bucket,
    the name of a folder does not show whether the step is complete, because the folder of an incomplete step also has its
    final name.
    """
    with bucket_errors(workdir):
        recorded = workdir / RECORDS
        steps = step_folders(workdir)
        if recorded.is_dir():
            known = {path.name for path in recorded.glob("*.json")}
            steps = [step for step in steps if f"{step}.json" in known]
        return [step for step in steps if is_finalized(workdir / STEPS / str(step))]


def is_finalized(folder: AnyPath) -> bool:
    """Returns whether Orbax has finished writing a checkpoint."""
    import orbax.checkpoint as ocp  # imported here, because the import is slow, and bundled models do not need Orbax

    return ocp.path.step.is_checkpoint_finalized(folder)


def step_folders(workdir: AnyPath) -> list[int]:
    """Returns the steps of the checkpoint folders in a workdir, in ascending order, including folders that a user added."""
    names = [path.name for path in (workdir / STEPS).glob("*") if path.is_dir() and not is_link(path)]
    return sorted(int(name) for name in names if name.isascii() and name.isdigit() and str(int(name[:20])) == name)


def ranked_steps(workdir: AnyPath, steps: Sequence[int]) -> list[int]:
    """Returns the validated steps, sorted by J&F in ascending order. Steps with equal J&F are sorted by number."""
    scores = {step: (step_record(workdir, step).about or {}).get("scores") for step in steps}
    jf = {step: found["jf"] for step, found in scores.items() if found}
    return sorted(jf, key=lambda step: (jf[step], step))


def step_record(workdir: AnyPath, step: int) -> Record:
    """Returns the record of one checkpoint's files. The attribute `about` contains the scores once the record is complete.

    Raises:
      CheckpointError: the record file of this step is not a checkpoint record of hmmn-jax.
    """
    path = workdir / RECORDS / f"{step}.json"
    try:
        record = Record.load(workdir / STEPS / str(step), path)
        if not _is_of_a_checkpoint(record.about):
            raise DataError(f"{path}: the file is not the record of a checkpoint")
    except DataError as error:
        way_out = "Move the file elsewhere. The checkpoint of this step will not be deleted"
        raise CheckpointError(f"{path}: the file is not a checkpoint record of hmmn-jax. {way_out}") from error
    return record


def _is_of_a_checkpoint(about: Any) -> bool:
    """Returns whether a value is None, {"scores": None} or {"scores": {"jf": number, ...}}."""
    if about is None:
        return True
    if not isinstance(about, dict) or "scores" not in about:
        return False
    scores = about["scores"]
    return scores is None or (isinstance(scores, dict) and type(scores.get("jf")) in (int, float))
