"""Segments clips and writes masks. Distributes clips over hosts and devices, resumes runs, and measures time and memory."""

import collections
import contextlib
import dataclasses
import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import jax.monitoring
import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from hmmn_jax.errors import ConfigError, DataError, HMMNError, one_line
from hmmn_jax.evaluation.annotated import count_steps, segment_annotated
from hmmn_jax.evaluation.clips import Clip
from hmmn_jax.evaluation.outputs import ClipWriter, Outputs
from hmmn_jax.evaluation.protocols import make_protocol
from hmmn_jax.inference import Segmenter
from hmmn_jax.inference.augmentation import Augmentation, Segmented, segment_augmented
from hmmn_jax.io.files import reason
from hmmn_jax.io.host_memory import peak_megabytes
from hmmn_jax.io.notes import note
from hmmn_jax.model import HMMNConfig

WRITES_IN_FLIGHT = 4  # maximum number of frames per clip that wait to be written
TELL_AFTER = 10  # number of frames after which the remaining time is printed


@dataclasses.dataclass
class Cost:
    """Time and memory of a run.

    Attributes:
        frames: number of segmented frames.
        seconds: time in seconds, excluding compilation.
        compile_seconds: compilation time in seconds.
        peak_megabytes: peak resident memory of the process; None if unknown.
        peak_device_megabytes: peak memory use of the first accelerator of the process; None on a CPU.
    """

    frames: int = 0
    seconds: float = 0.0
    compile_seconds: float = 0.0
    peak_megabytes: float | None = None
    peak_device_megabytes: float | None = None

    @property
    def frames_per_second(self) -> float:
        """The number of segmented frames per second, excluding compilation."""
        return self.frames / self.seconds if self.seconds else 0.0

    def __str__(self) -> str:
        host = "unknown" if self.peak_megabytes is None else f"{self.peak_megabytes:.0f} MB"
        device = "" if self.peak_device_megabytes is None else f", and {self.peak_device_megabytes:.0f} MB on the device"
        return (
            f"{self.frames} frames were segmented in {self.seconds:.1f} s ({self.frames_per_second:.2f} frames/s). Compilation "
            f"took another {self.compile_seconds:.1f} s. The peak memory use is {host}{device}."
        )


def make_segmenters(variables: dict[str, Any], model_config: HMMNConfig, settings: ConfigDict, count: int) -> list[Segmenter]:
    """Creates at most `count` segmenters, one per device of this process, with the settings of an evaluation.

    Raises ConfigError for invalid settings.
    """
    bounds = {name: settings[name] or None for name in ("max_memory_frames", "objects_per_batch")}
    independent, made = make_protocol(settings).mask_files.overlapping, []
    for device in jax.local_devices()[:count]:
        with jax.default_device(device):
            try:
                made.append(Segmenter(variables, model_config, mem_every=settings.mem_every, independent=independent, **bounds))
            except ValueError as error:
                raise ConfigError(str(error)) from error
    return made


def predict(
    segmenters: Sequence[Segmenter], clips: Sequence[Clip], outputs: Outputs, augmentation: Augmentation | None = None
) -> tuple[Cost, dict[str, str]]:
    """Segments clips and writes the requested outputs. Given masks are written unchanged.

    Clips are divided among processes. Within a process, each clip is assigned to the next idle segmenter. Clips with complete
    outputs are skipped. If a clip fails, none of its files are written, and the other clips are still segmented.

    Args:
      segmenters: segmenters from `make_segmenters`. The i-th segmenter uses the i-th device of this process.
      clips: the clips, with unique names.
      outputs: the outputs to write. The output folder must be locked (see `RunFolder.locked`).
      augmentation: the scaled and mirrored views to segment. By default, only the unchanged frames are segmented.

    Returns:
      The cost of this process, and a dict from the name of each failed clip to a one-line error.
    """
    augmentation = augmentation or Augmentation()
    own = clips[jax.process_index() :: jax.process_count()]
    waiting: collections.deque[tuple[Clip, dict]] = collections.deque()
    cost, failures, stop = Cost(), {}, threading.Event()
    for clip in own:
        try:
            made_from = outputs.made_from(clip)
            if not outputs.are_there(clip, made_from):
                waiting.append((clip, made_from))
        except (DataError, OSError) as error:
            failures[clip.name] = _one_line(clip, error)
    if there := len(own) - len(waiting) - len(failures):
        print(f"{there} of {len(own)} videos are already complete", file=sys.stderr)
    # Videos of unknown length add 0 frames. If the sum is 0, the total is unknown (None).
    total = sum(count_steps(clip) if clip.direction else max(len(clip) - 1, 0) for clip, _ in waiting) or None

    def work(segmenter: Segmenter, device: jax.Device) -> None:
        with jax.default_device(device), ThreadPoolExecutor(1) as writer:
            while waiting and not stop.is_set():
                try:
                    clip, made_from = waiting.popleft()
                except IndexError:  # another thread took the last clip
                    return
                bar.set_description(one_line(clip.name))
                try:
                    write = ClipWriter(clip, outputs, made_from)
                    if clip.direction:
                        frames.append(_predict_annotated(segmenter, clip, augmentation, write, bar, stop))
                    else:
                        frames.append(_predict_clip(segmenter, clip, augmentation, write, writer, bar, stop))
                    remarks.extend(write.remarks)
                except (HMMNError, OSError) as error:
                    failures[clip.name] = _one_line(clip, error)
                except (MemoryError, jax.errors.JaxRuntimeError) as error:
                    way_out = "If there is not enough memory, set max_memory_frames, objects_per_batch or size."
                    failures[clip.name] = f"{clip.name}: {reason(error)}. {way_out}"
                if clip.name in failures:
                    bar.set_postfix_str(f"{len(failures)} failed")

    frames: list[int] = []
    remarks: list[str] = []
    start = time.perf_counter()
    with _compile_seconds() as compiled, _Bar(compiled, len(segmenters), total=total, unit="frame") as bar:
        run_each(work, list(zip(segmenters, jax.local_devices(), strict=False)), stop.set)
    for remark in remarks:
        note(remark)
    cost.frames, cost.compile_seconds = sum(frames), compiled[0]
    cost.seconds = time.perf_counter() - start - compiled[0] / len(segmenters)
    cost.peak_megabytes = peak_megabytes()
    statistics = jax.local_devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in statistics:
        cost.peak_device_megabytes = statistics["peak_bytes_in_use"] / 2**20
    return cost, failures


class _Bar(tqdm):
    """A progress bar that prints the remaining time once, after ten frames, if at least ten frames are left.

    `compiled` is the list that `_compile_seconds` yields. `threads` is the number of threads that compile at the same time.
    """

    def __init__(self, compiled: list[float], threads: int, **options: Any):
        self._compiled, self._threads, self._start = compiled, threads, time.perf_counter()
        super().__init__(**options)

    def update(self, n: float | None = 1) -> bool | None:
        """Advances the bar by `n` frames."""
        shown = super().update(n)
        if self.n == TELL_AFTER and self.total is not None and self.total >= 2 * TELL_AFTER:
            seconds = max(time.perf_counter() - self._start - self._compiled[0] / self._threads, 0)
            left = _duration(seconds / self.n * (self.total - self.n))
            done = f"{self.n} of {self.total} frames were segmented in {seconds:.1f} s, excluding compilation"
            self.write(f"{done}. The remaining time is about {left}.", file=sys.stderr)
        return shown


def _duration(seconds: float) -> str:
    """Formats a duration, for example 12 s, 3 min 20 s, or 2 h 5 min."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"


def run_each(work: Callable[..., None], arguments: list[tuple], stop: Callable[[], None]) -> None:
    """Calls `work` with each tuple of arguments.

    If there are several tuples, each tuple is processed in its own thread, and `stop` is called at the end, even after errors.
    """
    if len(arguments) == 1:
        return work(*arguments[0])
    with ThreadPoolExecutor(len(arguments)) as pool:
        futures = [pool.submit(work, *each) for each in arguments]
        try:
            for future in futures:
                future.result()
        finally:
            stop()
    return None


def _predict_clip(
    segmenter: Segmenter,
    clip: Clip,
    augmentation: Augmentation,
    write: ClipWriter,
    writer: ThreadPoolExecutor,
    bar: tqdm,
    stop: threading.Event,
) -> int:
    """Segments one clip. Another thread fetches and writes the results. Returns the number of segmented frames."""
    frames = iter(clip.video)
    if (first := next(frames, None)) is None:
        raise DataError(f"{clip.name}: the video contains no frames")
    given = clip.read_given(*first.shape[:2])
    seen: collections.deque[np.ndarray] = collections.deque()

    def remembered(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        for frame in frames:
            if frame.shape != first.shape:
                raise DataError(
                    f"{clip.name}: a frame has {_size(frame)} pixels, but earlier frames have {_size(first)}. "
                    "All frames must have the same size."
                )
            seen.append(frame)
            yield frame

    pending: collections.deque[Future] = collections.deque()
    count = 0
    with write, _finishing(pending):
        found = segment_augmented(segmenter, remembered(itertools.chain([first], frames)), given, augmentation)
        for segmented in found:
            count += 1
            if count == 1:
                pending.append(writer.submit(write.given, 0, seen.popleft(), given[0]))
            if not write.needs_probs:  # probabilities can be large, and several frames may be waiting to be written
                segmented = segmented.without_probs()
            pending.append(writer.submit(write.later, count, seen.popleft(), segmented))
            bar.update()
            while len(pending) > WRITES_IN_FLIGHT:
                pending.popleft().result()
            if stop.is_set():
                raise HMMNError(f"{clip.name}: the segmentation was stopped")
        if count == 0:
            raise DataError(f"{clip.name}: the video has only {len(seen)} frame, expected at least two frames")
    return count


def _predict_annotated(
    segmenter: Segmenter, clip: Clip, augmentation: Augmentation, write: ClipWriter, bar: tqdm, stop: threading.Event
) -> int:
    """Propagates a clip's masks in the configured direction, then writes all frames. Returns the number of computed frames."""
    count = 0

    def advance() -> None:
        nonlocal count
        count += 1
        bar.update()
        if stop.is_set():
            raise HMMNError(f"{clip.name}: the segmentation was stopped")

    with write:
        for t, (frame, found) in enumerate(segment_annotated(segmenter, clip, augmentation, advance)):
            if isinstance(found, Segmented):
                write.later(t, frame, found)
            else:
                write.given(t, frame, found)
    return count


@contextlib.contextmanager
def _finishing(pending: collections.deque[Future]) -> Iterator[None]:
    """On exit, waits for pending work, so that nothing is written later. After an error, cancels work that has not started."""
    try:
        yield
        for future in pending:
            future.result()
    finally:
        for future in pending:
            future.cancel()
        for future in pending:
            if not future.cancelled():
                future.exception()


def _one_line(clip: Clip, error: Exception) -> str:
    return str(error) if isinstance(error, HMMNError) else f"{clip.name}: {reason(error)}"


def _size(frame: np.ndarray) -> str:
    return f"{frame.shape[1]}x{frame.shape[0]}"


@contextlib.contextmanager
def _compile_seconds() -> Iterator[list[float]]:
    """Yields a list with one number: the seconds spent compiling in all threads since the start of the block."""
    seconds = [0.0]

    def listen(event: str, duration_secs: float, **_: Any) -> None:
        if event in ("/jax/core/compile/backend_compile_duration", "/jax/core/compile/jaxpr_to_mlir_module_duration"):
            seconds[0] += duration_secs

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield seconds
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
