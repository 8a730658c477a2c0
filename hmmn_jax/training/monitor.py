"""Monitors a run: passes metrics to the writer, prints progress, and stops the run if it diverges."""

import contextlib
import io
import math
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from hmmn_jax.errors import DivergedError
from hmmn_jax.io.files import writing_errors
from hmmn_jax.io.new_file import free_path, write_new_file
from hmmn_jax.training.schedules import is_due
from hmmn_jax.training.train_step import Batch, Metrics
from hmmn_jax.training.writer import Writer

MEANS = (
    "loss",
    "gradient_norm",
)  # these metrics and `loss_frame_1`, ... are averaged over an interval; for other metrics, the last value is used


class Monitor:
    """Fetches the metrics of each step one step later, while the device runs the next step.

    The context manager closes the progress bar on exit.
    """

    def __init__(self, writer: Writer, first: int, total: int, batch: int, every: int, stop_above: float | int):
        """Starts the timer and shows the progress bar.

        Args:
          writer: the writer of the metrics. If training diverges at a step, the batch of this step is saved in the writer's
            workdir.
          first: number of completed steps.
          total: total number of steps.
          batch: clips per step.
          every: number of samples between two lines of metrics.
          stop_above: maximum mean loss over `every` samples. A larger mean loss raises DivergedError.
        """
        self.writer, self.batch, self.every, self.stop_above = writer, batch, every, stop_above
        self.last: dict[str, float] = {}  # the metrics in the last line that was written
        self._pending: tuple[int, Batch, Metrics, dict[str, float]] | None = None
        self._interval: list[dict[str, float]] = []
        self.restart_clock()
        self._bar = tqdm(total=total, initial=first, unit="step", disable=jax.process_index() > 0, dynamic_ncols=True)

    def __enter__(self) -> "Monitor":
        return self

    def __exit__(self, *_: Any) -> None:
        self._bar.close()

    @contextlib.contextmanager
    def waiting_for_input(self) -> Iterator[None]:
        """Records the duration of the block as time spent waiting for data."""
        start = time.perf_counter()
        yield
        self._waited += time.perf_counter() - start

    @contextlib.contextmanager
    def apart(self) -> Iterator[None]:
        """Excludes the duration of the block from the reported clips per second."""
        start = time.perf_counter()
        yield
        self._since += time.perf_counter() - start

    def after(self, step: int, batch: Batch, metrics: Metrics, **about: float) -> None:
        """Registers a step that was just started, with its batch and metrics, and checks the previous step.

        Raises:
          DivergedError: training diverged in the previous step.
        """
        before, self._pending = self._pending, (step, batch, metrics, about)
        if before is not None:
            self._take(*before)

    def flush(self) -> None:
        """Checks the metrics of the last step. Raises DivergedError if training has diverged."""
        before, self._pending = self._pending, None
        if before is not None:
            self._take(*before)

    def restart_clock(self) -> None:
        """Excludes the time since the last line of metrics, for example compilation time, from the clips per second."""
        self._timed_steps, self._waited, self._since = 0, 0.0, time.perf_counter()

    def say(self, text: str) -> None:
        """Prints a line above the progress bar."""
        if jax.process_index() == 0:
            self._bar.write(text)

    def _take(self, step: int, batch: Batch, metrics: Metrics, about: dict[str, float]) -> None:
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        self._bar.update()
        if wrong := [name for name, value in values.items() if not math.isfinite(value)]:
            self._stop(step, batch, f"{wrong[0]} is {values[wrong[0]]}")
        self._interval.append(values)
        self._timed_steps += 1
        if is_due(step, self.batch, self.every):
            self._write(step, batch, about)

    def _write(self, step: int, batch: Batch, about: dict[str, float]) -> None:
        seconds = time.perf_counter() - self._since
        averaged = [name for name in self._interval[-1] if name in MEANS or name.startswith("loss_frame_")]
        means = {name: float(np.mean([values[name] for values in self._interval])) for name in averaged}
        line = self._interval[-1] | means | about
        line["clips_per_second"] = self._timed_steps * self.batch / seconds
        line["input_wait"] = min(self._waited / seconds, 1.0)
        self.last = line
        self.writer.scalars(step, line)
        self._bar.set_postfix_str(f"loss {line['loss']:.3f}, {line['clips_per_second']:.1f} clips/s")
        self._interval = []
        self.restart_clock()
        if line["loss"] > self.stop_above:
            self._stop(step, batch, f"the mean loss of {self.every} samples is {line['loss']:.3g}, above {self.stop_above:g}")

    def _stop(self, step: int, batch: Batch, why: str) -> None:
        process = f"_process_{jax.process_index()}" if jax.process_count() > 1 else ""
        path = free_path(self.writer.workdir / f"bad_batch_{step}{process}.npz")
        content = io.BytesIO()
        np.savez(content, **batch)
        with writing_errors(path):
            write_new_file(path, content.getvalue())
        raise DivergedError(
            f"step {step}: {why}. The batch of this step was saved as {path}. Inspect the batch, or restart from an "
            "earlier checkpoint with a different config."
        )
