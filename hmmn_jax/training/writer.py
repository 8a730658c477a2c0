"""What a run says of itself: numbers as lines of JSON and in TensorBoard, pictures in TensorBoard and as PNG files."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt8

from hmmn_jax.evaluation.pictures import write_image
from hmmn_jax.layouts import atomic_path
from hmmn_jax.layouts.files import writing_errors

METRICS_FILE = "metrics.jsonl"

# Imported when a run opens its files, as it imports PyTorch where that is installed: seconds, before any mistake is told.
if importlib.util.find_spec("tensorboardX") is None:
    raise ModuleNotFoundError("No module named 'tensorboardX'", name="tensorboardX")


class Writer:
    """Writes `metrics.jsonl`, `tensorboard/` and `pictures/` in a workdir; of several processes only the first does.

    A context manager. Raises DataError where the disk refuses.
    """

    def __init__(self, workdir: Path, first_step: int):
        """Opens the files; what a killed run wrote of steps after `first_step`, which come again, is dropped."""
        self.workdir, self._active = workdir, jax.process_index() == 0
        if self._active:
            from tensorboardX import SummaryWriter

            kept = [line for line in read_metrics(workdir) if line["step"] <= first_step]
            with atomic_path(workdir / METRICS_FILE) as path:
                path.write_text("".join(map(_line, kept)))
            self._lines = (workdir / METRICS_FILE).open("a", buffering=1)
            self._board = SummaryWriter(str(workdir / "tensorboard"), purge_step=first_step + 1)

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_: Any) -> None:
        if self._active:
            self._lines.close()
            self._board.close()

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """One line of JSON, `{"step": step, **values}`, and a point in each of TensorBoard's curves."""
        if not self._active:
            return
        with writing_errors(self.workdir / METRICS_FILE):
            self._lines.write(_line({"step": step, **values}))
        for name, value in values.items():
            self._board.add_scalar(name, value, step)

    def picture(self, step: int, name: str, rgb: UInt8[np.ndarray, "h w 3"]) -> None:
        """An RGB picture: `pictures/NAME/STEP.png`, and in TensorBoard."""
        if self._active:
            write_image(self.workdir / "pictures" / name / f"{step:07d}.png", rgb)
            self._board.add_image(name, rgb, step, dataformats="HWC")


def read_metrics(workdir: Path) -> list[dict[str, float | int]]:
    """The lines of a run's `metrics.jsonl`, in order; a last line that was cut off is left out."""
    path = workdir / METRICS_FILE
    lines = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            lines.append(json.loads(line))
        except ValueError:
            continue
    return lines


def _line(values: dict[str, float | int]) -> str:
    return json.dumps(values) + "\n"
