"""The output folder of an evaluation: records of its inputs and files, and a lock that allows one run at a time.

RUN/record/run.json          settings, inputs, weights and model that produced the masks in RUN
RUN/record/clips/CLIP.json   files of one video with their SHA-256, and digests of their inputs
RUN/record/scores.json       files of the scores and the report with their SHA-256
RUN/record/submission.json   the archive with its SHA-256
RUN/record/lock, .lock.json  lock of the process that writes to RUN (see `hmmn_jax.io.guard`)
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from hmmn_jax.errors import ConfigError, DataError
from hmmn_jax.io.buckets import AnyPath, is_bucket
from hmmn_jax.io.files import bucket_errors, discard_empty, lies_there, reason, shortlist, write_file
from hmmn_jax.io.guard import RUN_LOCK, Guard, hold_folder, owner_path
from hmmn_jax.io.record import FORMAT, Record, remove_leftovers, staging_folder

# Outputs of an evaluation. Outputs in a folder without a record were written by a user or an older version.
OUTPUTS = (
    *("masks", "overlays", "movies", "probabilities", "exports", "summary.json", "per_sequence.csv", "per_frame.csv"),
    *("report.html", "submission.zip", "submission.json"),
    *("run.json", "scores"),  # written by older versions
)
RECORD = "record"
_WAY_OUT = "Choose another --output, or move the files elsewhere."
# Settings of an evaluation that do not change the masks of a sequence.
_FREE = frozenset(("sequences", "single_object", "submission", "objects_per_batch", "save_probabilities", "fps", "paper"))


class RunFolder:
    """The output folder of an evaluation.

    Attributes:
        folder: the folder of the results.
        digest: SHA-256 of the inputs and settings that produced the masks; "" if there are no masks.
    """

    def __init__(self, folder: AnyPath):
        self.folder = folder
        self.digest = ""
        self._guard: Guard | None = None  # None unless this process has locked the folder

    def require_usable(self) -> None:
        """Raises ConfigError, before anything is written, if the folder contains results without a record."""
        with bucket_errors(self.folder):
            if self.folder.exists() and not self.folder.is_dir():
                raise ConfigError(f"{self.folder}: this path is a file. Pass an output folder.")
            if self._run.is_file():
                _read_run(self._run)
                return
            found = [name for name in OUTPUTS if lies_there(self.folder / name)]
            record = self.folder / RECORD
            if lies_there(record) and (not record.is_dir() or set(record.iterdir()) - {self._lock, owner_path(self._lock)}):
                found.append(RECORD)
        if found:
            raise ConfigError(f"{self.folder}: the folder contains {shortlist(found)} without a record of a run. {_WAY_OUT}")

    def require_same(self, made_with: Mapping[str, Any]) -> None:
        """Raises ConfigError if existing masks were made with settings or inputs that differ from `made_with` (JSON values)."""
        if (found := self.made_with()) is None:
            return
        before, now = (flatten_dict(made, sep=".") for made in (found, json.loads(json.dumps(made_with))))
        if changed := [key for key in {**now, **before} if before.get(key) != now.get(key)]:
            key = changed[0]
            raise ConfigError(
                f"{self._run}: the existing masks were made with {key} {before.get(key)}, but this run uses {now.get(key)}. "
                "Choose another --output, or pass --overwrite to replace the files of the earlier run."
            )

    def made_with(self) -> dict[str, Any] | None:
        """The settings and inputs of the folder's masks; None if no masks exist. Raises ConfigError for a damaged record."""
        with bucket_errors(self.folder):
            return _read_run(self._run) if self._run.is_file() else None

    @contextlib.contextmanager
    def locked(self, takeover: bool = False) -> Iterator[Guard]:
        """Locks the folder for this process while the block runs, and removes unfinished files of killed runs.

        Args:
            takeover: whether to take over the folder from a process that appears to be using it.
        """
        with hold_folder(self.folder, self._lock, takeover) as guard:
            self._guard = guard
            remove_leftovers(self._unfinished)
            yield guard

    def claim(self, made_with: Mapping[str, Any] | None) -> None:
        """Records the settings and inputs of the masks. If `made_with` is None, the recorded values are kept."""
        made_with = self.made_with() if made_with is None else made_with
        write_file(self._run, json.dumps({"format": FORMAT, "made_with": made_with}, indent=1) + "\n")

    def all(self) -> list[Record]:
        """Returns the records of all files that earlier runs wrote."""
        with bucket_errors(self.folder):
            clips = sorted((self.folder / RECORD / "clips").glob("*.json"))
        return [*(Record.load(self.folder, path) for path in clips), self.scores, self.submission]

    def own_files(self, all_of_it: bool) -> list[AnyPath]:
        """Returns the recorded files that a new run deletes: the scores, the report and the archive.

        If `all_of_it` is set, returns all recorded files.
        """
        records = self.all() if all_of_it else [self.scores, self.submission]
        return [self.folder / name for record in records for name in record.files]

    def clip(self, name: str) -> Record:
        """Returns the record of one video."""
        return Record.load(self.folder, self.folder / RECORD / "clips" / f"{name}.json")

    @property
    def scores(self) -> Record:
        """The record of the scores and the report."""
        return Record.load(self.folder, self.folder / RECORD / "scores.json")

    @property
    def submission(self) -> Record:
        """The record of the submission archive."""
        return Record.load(self.folder, self.folder / RECORD / "submission.json")

    @contextlib.contextmanager
    def staging(self) -> Iterator[Path]:
        """Creates a temporary folder for results. The caller moves the results to their final location."""
        self.require_present()
        try:
            with staging_folder(self._unfinished) as folder:
                yield folder
        finally:
            removed = not is_bucket(self._run) and not self._run.is_file()
            if removed:  # another process may have recreated empty folders in the meantime
                for place in (self.folder / RECORD, self.folder):
                    discard_empty(place)

    def require_present(self) -> None:
        """Raises DataError if the folder was removed, and ConfigError if another process took over the folder.

        The removal of a folder in a bucket is not detected, because buckets have no real folders.
        """
        if self._guard is not None:
            self._guard.require()
        if not is_bucket(self._run) and not self._run.is_file():
            raise DataError(f"{self.folder}: the folder was removed or moved during the run. Run the command again.")

    @property
    def _unfinished(self) -> AnyPath:
        return self.folder / RECORD / "unfinished"

    @property
    def _run(self) -> AnyPath:
        return self.folder / RECORD / "run.json"

    @property
    def _lock(self) -> AnyPath:
        return self.folder / RUN_LOCK


def digest_of(made_with: Mapping[str, Any]) -> str:
    """Returns the SHA-256 of a value that is serialized as JSON."""
    return hashlib.sha256(json.dumps(made_with, sort_keys=True).encode()).hexdigest()


def mask_settings(config: ConfigDict) -> dict[str, Any]:
    """Returns those settings of an evaluation that affect the masks."""
    return {key: value for key, value in config.to_dict().items() if key not in _FREE}


def weights_digest(variables: dict[str, Any]) -> str:
    """Returns the SHA-256 of the names, dtypes and values of all variables. The digest does not depend on the file format."""
    digest = hashlib.sha256()
    for path, leaf in sorted(flatten_dict(variables).items()):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{'/'.join(path)} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _read_run(path: AnyPath) -> dict[str, Any] | None:
    """Reads the settings and inputs in a record; None if no masks exist. Raises ConfigError for an invalid record."""
    try:
        found = json.loads(path.read_bytes().decode())
        if found["format"] != FORMAT:
            raise ValueError(f"the format is {found['format']}, expected {FORMAT}")
        if not isinstance(made_with := found["made_with"], dict | None):
            raise TypeError(f"the entry 'made_with' has the type {type(made_with).__name__}, expected an object or null")
        return made_with
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        found = f"{type(error).__name__}: {reason(error)}"
        raise ConfigError(f"{path}: the file is not a record of an evaluation ({found}). {_WAY_OUT}") from error
