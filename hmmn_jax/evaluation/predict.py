"""From sequences on disk to masks on disk: runs the segmenter, writes what it finds, measures what it costs."""

import collections
import contextlib
import dataclasses
import resource
import time
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.monitoring
import numpy as np
from jaxtyping import UInt8
from tqdm import tqdm

from hmmn_jax.errors import DataError
from hmmn_jax.evaluation.pictures import MovieWriter, overlay, write_image
from hmmn_jax.inference import Segmenter
from hmmn_jax.layouts import Sequence, VideoFile, fit_mask, read_image, read_mask, write_mask

WRITES_IN_FLIGHT = 8  # frames that wait to be written, at most


@dataclasses.dataclass(frozen=True)
class Outputs:
    """What to write into `folder`: masks always, overlays and movies (None, "mp4" or "gif") on request."""

    folder: Path
    overlays: bool = False
    movie: str | None = None
    fps: float = 10.0


@dataclasses.dataclass
class Cost:
    """What a run took. `seconds` leaves compilation out, which `compile_seconds` has; `peak_megabytes` are the process's
    resident memory, and `peak_device_megabytes` an accelerator's own (None on a CPU)."""

    frames: int = 0
    seconds: float = 0.0
    compile_seconds: float = 0.0
    peak_megabytes: float = 0.0
    peak_device_megabytes: float | None = None

    @property
    def frames_per_second(self) -> float:
        """Segmented frames per second, compilation apart."""
        return self.frames / self.seconds if self.seconds else 0.0

    def __str__(self) -> str:
        device = "" if self.peak_device_megabytes is None else f", {self.peak_device_megabytes:.0f} MB on the device"
        return (
            f"{self.frames} frames in {self.seconds:.1f} s ({self.frames_per_second:.2f} frames/s), compilation "
            f"{self.compile_seconds:.1f} s apart; peak memory {self.peak_megabytes:.0f} MB{device}"
        )


@dataclasses.dataclass(frozen=True)
class Clip:
    """A video to segment: its name, its frames' names (None: numbered), the frames themselves and the ids in the first."""

    name: str
    frame_names: tuple[str, ...] | None
    frames: Iterable[UInt8[np.ndarray, "h w 3"]]
    mask: UInt8[np.ndarray, "h w"]

    def __len__(self) -> int:
        return len(self.frame_names) if self.frame_names else getattr(self.frames, "frame_count", None) or 0


def open_sequence(sequence: Sequence) -> Clip:
    """A sequence of image files as a clip that reads each frame when it is asked for. Raises DataError without a first mask."""
    if 0 not in sequence.masks:
        raise DataError(f"{sequence.name}: no mask of the first frame, {sequence.frames[0].name}; it says what to segment")
    first = read_image(sequence.frames[0])
    mask = fit_mask(read_mask(sequence.masks[0]), *first.shape[:2], sequence.masks[0])
    return Clip(sequence.name, sequence.frame_names, _read_frames(sequence.frames), mask)


def open_video(video: Path, mask_path: Path) -> Clip:
    """A video file as a clip; frames are named by number."""
    frames = VideoFile(video)
    height, width = next(iter(frames)).shape[:2]
    return Clip(video.stem, None, frames, fit_mask(read_mask(mask_path), height, width, mask_path))


def predict(segmenter: Segmenter, clips: list[Clip], outputs: Outputs) -> Cost:
    """Segments every clip and writes `masks/CLIP/FRAME.png` (the given mask for the first frame), with the caller's ids.

    Overlays go to `overlays/CLIP/FRAME.png`, movies to `movies/CLIP.mp4` or `.gif`.

    Raises:
      DataError: a frame that cannot be read or has another size, a clip of one frame, a folder that cannot be written.
    """
    cost = Cost()
    total = sum(max(len(clip) - 1, 0) for clip in clips) or None  # unknown, for videos whose header does not say
    with _compile_seconds() as compiled, ThreadPoolExecutor(1) as writer, tqdm(total=total, unit="frame") as bar:
        for clip in clips:
            bar.set_description(clip.name)
            if not clip.mask.any():
                warnings.warn(f"{clip.name}: the first mask has no object; all will be background", stacklevel=2)
            start, before = time.perf_counter(), compiled[0]
            frames = _predict_clip(segmenter, clip, outputs, writer, bar)
            spent = time.perf_counter() - start
            cost.frames += frames
            cost.compile_seconds += compiled[0] - before
            cost.seconds += spent - (compiled[0] - before)
    cost.peak_megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    statistics = jax.local_devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in statistics:
        cost.peak_device_megabytes = statistics["peak_bytes_in_use"] / 2**20
    return cost


def _predict_clip(segmenter: Segmenter, clip: Clip, outputs: Outputs, writer: ThreadPoolExecutor, bar: tqdm) -> int:
    """Segments one clip; results are fetched and written by another thread. Returns the number of segmented frames."""
    seen: collections.deque[np.ndarray] = collections.deque()

    def remembered(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        height, width = clip.mask.shape
        for frame in frames:
            if frame.shape[:2] != (height, width):
                raise DataError(
                    f"{clip.name}: a frame of {_size(frame)} after frames of {width}x{height}; one size is expected"
                )
            seen.append(frame)
            yield frame

    pending: collections.deque[Any] = collections.deque()
    with _Writer(clip, outputs) as write:
        count = 0
        for count, result in enumerate(segmenter.run(remembered(clip.frames), clip.mask), 1):
            if count == 1:
                pending.append(writer.submit(write, 0, seen.popleft(), clip.mask))
            pending.append(writer.submit(write, count, seen.popleft(), result.mask))
            bar.update()
            while len(pending) > WRITES_IN_FLIGHT:
                pending.popleft().result()
        if count == 0:
            raise DataError(f"{clip.name}: {len(seen)} frame; nothing to segment after the first")
        for write_done in pending:
            write_done.result()
    return count


class _Writer:
    """Writes the frames of one clip; a context manager, so that a movie appears whole or not at all."""

    def __init__(self, clip: Clip, outputs: Outputs):
        self.clip, self.outputs, self.movie = clip, outputs, None

    def __enter__(self) -> "_Writer":
        if self.outputs.movie is not None:
            path = self.outputs.folder / "movies" / f"{self.clip.name}.{self.outputs.movie}"
            self.movie = MovieWriter(path, self.outputs.fps).__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        if self.movie is not None:
            self.movie.__exit__(*error)

    def __call__(self, index: int, frame: np.ndarray, mask: Any) -> None:
        mask = np.asarray(mask)
        name = self.clip.frame_names[index] if self.clip.frame_names else f"{index:05d}"
        write_mask(self.outputs.folder / "masks" / self.clip.name / f"{name}.png", mask)
        if self.outputs.overlays or self.movie is not None:
            picture = overlay(frame, mask)
            if self.outputs.overlays:
                write_image(self.outputs.folder / "overlays" / self.clip.name / f"{name}.png", picture)
            if self.movie is not None:
                self.movie.write(picture)


def _read_frames(paths: Iterable[Path]) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    return (read_image(path) for path in paths)


def _size(frame: np.ndarray) -> str:
    return f"{frame.shape[1]}x{frame.shape[0]}"


@contextlib.contextmanager
def _compile_seconds() -> Iterator[list[float]]:
    """A list of one number: the seconds that XLA has compiled since the block began."""
    seconds = [0.0]

    def listen(event: str, duration: float, **_: Any) -> None:
        if event in ("/jax/core/compile/backend_compile_duration", "/jax/core/compile/jaxpr_to_mlir_module_duration"):
            seconds[0] += duration

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield seconds
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
