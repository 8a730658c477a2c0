"""Writes metrics as lines of JSON, and pictures as PNG files. Metrics and pictures are also written for TensorBoard."""

import contextlib
import importlib.util
import json
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt8

from hmmn_jax.errors import DataError
from hmmn_jax.io.buckets import AnyPath
from hmmn_jax.io.files import open_log, write_file, writing_errors
from hmmn_jax.io.notes import note
from hmmn_jax.io.pictures import write_image
from hmmn_jax.io.uploads import UploadedFolder
from hmmn_jax.training.board import Board
from hmmn_jax.training.hooks import Hook
from hmmn_jax.training.metrics import METRICS_FILE, parse_line, read_lines
from hmmn_jax.training.train_state import TrainState
from hmmn_jax.training.workdir import publish

# `Board` imports tensorboardX only when a run opens its files, after other errors have been reported. This import takes seconds
# if PyTorch is installed, because tensorboardX then imports PyTorch.
if importlib.util.find_spec("tensorboardX") is None:
    raise ModuleNotFoundError("No module named 'tensorboardX'", name="tensorboardX")


class Writer:
    """Writes `metrics.jsonl`, `tensorboard/` and `pictures/` to a workdir and calls hooks, in the first process only.

    A writer is a context manager. Its methods raise DataError if writing fails. If the workdir is in a bucket, `flush` uploads
    the metrics. Writing a line of metrics also uploads the metrics, but at most every 30 seconds.
    """

    def __init__(self, workdir: AnyPath, first_step: int, hooks: Sequence[Hook] = ()):
        """Opens the metrics file and a TensorBoard file.

        Deletes the lines of steps after `first_step` from `metrics.jsonl`, because a resumed run repeats these steps. Lines
        that do not have the format of this program are kept.
        """
        self.workdir, self._hooks, self._active = workdir, hooks, jax.process_index() == 0
        if self._active:
            with writing_errors(workdir / METRICS_FILE):
                kept = _drop_later(workdir, first_step)
                self._folder = UploadedFolder(workdir)
                self._lines = open_log(self._folder.local / METRICS_FILE)
                if self._folder.local != workdir:
                    self._lines.write(kept)
            self._board = Board(workdir / "tensorboard", first_step + 1)

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        if self._active:
            self._lines.close()
            for file in (self._folder, self._board):
                with contextlib.suppress(*([DataError] if kind else [])):  # only the first error is reported
                    file.close()

    def flush(self) -> None:
        """If the workdir is in a bucket, uploads the metrics. Call this method before saving a checkpoint."""
        if self._active:
            self._folder.flush()
            self._board.flush()

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Writes one line of JSON, `{"step": step, **values}`, and a point for each curve in TensorBoard."""
        if not self._active:
            return
        with writing_errors(self.workdir / METRICS_FILE):
            self._lines.write(json.dumps({"step": step, **values}).encode() + b"\n")
            self._folder.changed()
        self._board.scalars(step, values)
        for hook in self._hooks:
            hook.scalars(step, values)

    def picture(self, step: int, name: str, rgb: UInt8[np.ndarray, "h w 3"]) -> None:
        """Writes an RGB picture as `pictures/NAME/STEP.png` and to TensorBoard's files."""
        if self._active:
            file = f"pictures/{name}/{step:07d}.png"
            try:
                with publish(self.workdir, file, f"{file}.json") as path:
                    write_image(path, rgb)
            except DataError as error:  # a picture that cannot be written must not stop the run
                note(f"a picture is skipped: {error}")
            self._board.picture(step, name, rgb)
            for hook in self._hooks:
                hook.picture(step, name, rgb)

    def saved(self, state: TrainState) -> None:
        """Calls the hooks after a state has been saved as a checkpoint."""
        if self._active:
            for hook in self._hooks:
                hook.saved(state)


def _drop_later(workdir: AnyPath, first_step: int) -> bytes:
    """Deletes the lines of steps after `first_step`, and adds a newline to a truncated last line. Other lines are unchanged.

    Returns the remaining lines.
    """
    lines = read_lines(workdir)
    kept = [line for line in lines if not _comes_again(line, first_step)]
    if kept and not kept[-1].endswith(b"\n"):
        kept[-1] += b"\n"
    if kept != lines:
        write_file(workdir / METRICS_FILE, b"".join(kept))
    return b"".join(kept)


def _comes_again(line: bytes, first_step: int) -> bool:
    """Returns whether a line has the format that `scalars` writes, and its step is after `first_step`."""
    found = parse_line(line)
    return found is not None and found["step"] > first_step and all(type(value) in (int, float) for value in found.values())
