"""Records which files a run wrote to its workdir. The run may replace or delete only recorded files.

`WORKDIR/record` contains the lock (see `hmmn_jax.io.guard`) and the records of files that the run wrote. `run.json` is the
record of `config.json` and is written first. `checkpoints/STEP.json` is the record of a checkpoint, and `pictures/...` contains
the records of pictures.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import jax

from hmmn_jax.checkpoints.steps import STEPS
from hmmn_jax.checkpoints.store import CONFIG_FILE
from hmmn_jax.errors import ConfigError, DataError
from hmmn_jax.io.buckets import AnyPath
from hmmn_jax.io.files import bucket_errors, lies_there, part_path, writing_errors
from hmmn_jax.io.guard import RUN_LOCK, Guard, hold_folder
from hmmn_jax.io.record import Record, require_free, staging_folder

RECORD = "record"
RUN_RECORD = "run.json"
_NAMES = (CONFIG_FILE, STEPS, "metrics.jsonl", "tensorboard", "pictures", "profile", "damaged")


def is_begun(workdir: AnyPath) -> bool:
    """Returns whether a run of this program has written to a workdir.

    Raises:
      DataError: a file that a run would write exists without a record, or the workdir is a file.
    """
    with _missing_bucket(workdir), bucket_errors(workdir):
        if lies_there(workdir) and not workdir.is_dir():
            raise DataError(f"{workdir} is not a folder. Choose another workdir.")
        if (workdir / RECORD / RUN_RECORD).is_file():
            Record.load(workdir, workdir / RECORD / RUN_RECORD)
            return True
        foreign = [name for name in _NAMES if lies_there(workdir / name)]
        foreign += sorted(path.name for path in workdir.glob("bad_batch_*"))
        foreign += [RECORD for path in [workdir / RECORD] if lies_there(path) and not _only_a_lock(path)]
    if foreign:
        more = f" and {len(foreign) - 1} more entries" if len(foreign) > 1 else ""
        way_out = "Choose another workdir."
        if STEPS in foreign and CONFIG_FILE in foreign:
            way_out += f" To continue the run of an older version, also pass --config.resume={workdir}"
        raise DataError(f"{workdir} contains {foreign[0]}{more}, which no run of this program recorded. {way_out}")
    return False


@contextlib.contextmanager
def hold(workdir: AnyPath, begun: bool, takeover: bool = False) -> Iterator[Guard | None]:
    """Creates a workdir and locks it for this run.

    With several processes, only the first process creates and locks the workdir. In all other processes, the context
    manager yields None.

    Args:
      workdir: workdir of the run.
      begun: the earlier result of `is_begun`.
      takeover: whether to take over the workdir from a process that appears to be running.

    Raises:
      ConfigError: another run is writing to the workdir, or has started in the workdir since the call to `is_begun`.
      DataError: the workdir is not writable.
    """
    if jax.process_index() > 0:
        yield None
        return
    with hold_folder(workdir, workdir / RUN_LOCK, takeover) as guard:
        if is_begun(workdir) != begun:
            raise ConfigError(f"{workdir}: another run has started in this workdir. Choose another workdir.")
        yield guard


@contextlib.contextmanager
def publish(workdir: AnyPath, name: str, record: str) -> Iterator[Path]:
    """Yields a temporary path for a file. After the caller has written the file, renames the file to `WORKDIR/NAME`.

    Args:
      workdir: workdir of the run.
      name: relative path of the file.
      record: relative path of the file's record in `WORKDIR/record`.

    Raises:
      DataError: writing fails, or an existing file at this path was not written by the run or was modified afterwards.
    """
    owned = Record.load(workdir, workdir / RECORD / record)
    require_free(owned, [name])
    with staging_folder(part_path(workdir / RECORD)) as staged:
        path = staged / name
        with writing_errors(workdir / name):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield path
        owned.publish(staged, {})


@contextlib.contextmanager
def _missing_bucket(workdir: AnyPath) -> Iterator[None]:
    """Raises DataError if the bucket of a workdir does not exist. A missing folder in a bucket is not an error."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(
            f"{workdir}: the bucket does not exist. Create the bucket, or check its name and your credentials."
        ) from error


def _only_a_lock(folder: AnyPath) -> bool:
    return folder.is_dir() and all(path == folder.parent / RUN_LOCK or path.name.startswith(".") for path in folder.iterdir())
