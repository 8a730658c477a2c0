"""Validates a model during training: segments annotated sequences with `Segmenter` at a given size, and computes J&F."""

import collections
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import UInt8
from ml_collections import ConfigDict
from PIL import Image

from hmmn_jax.errors import DataError
from hmmn_jax.evaluation.mask_files import flatten
from hmmn_jax.evaluation.plans import Plan
from hmmn_jax.evaluation.predict import run_each
from hmmn_jax.evaluation.protocols import make_protocol
from hmmn_jax.inference import Segmenter
from hmmn_jax.inference.augmentation import Augmentation, Given, segment_augmented
from hmmn_jax.io.files import user_path
from hmmn_jax.io.notes import note
from hmmn_jax.io.pictures import overlay
from hmmn_jax.io.stage import Stage
from hmmn_jax.metrics.davis import ScoredFrame, SequenceScores, statistics
from hmmn_jax.model import HMMNConfig

SHEET_SEQUENCES, SHEET_FRAMES, SHEET_SIZE = 8, 4, (180, 320)  # number of rows, number of columns, and (height, width) of a cell


class Validation(NamedTuple):
    """The results of a validation.

    scores: `jf`, `j` and `f` in [0, 1], as means over all objects.
    sequences: J&F of each sequence by name. With several processes, only the sequences of this process are included.
    sheet: a picture of predictions, one row per sequence, RGB `[H,W,3]`; None if this process had no sequence.
    """

    scores: dict[str, float]
    sequences: dict[str, float]
    sheet: UInt8[np.ndarray, "h w 3"] | None


def find_validation(settings: ConfigDict, stage: Stage | None = None) -> list[Plan]:
    """Returns a plan for each video of the config section `validation`, or an empty list if the section has no data.

    Data in a bucket is copied to `stage`, because each validation reads the data again. If `stage` is None, the data must be
    local.

    Raises DataError for a video that cannot be segmented or scored, so that errors are found before training starts.
    """
    if not settings.data:
        return []
    data = user_path(settings.data) if stage is None else stage.fetch(user_path(settings.data, buckets=True))
    task = make_protocol(settings).read(data)
    plans, unscored = task.plan(task.clips)
    if wrong := [*task.failures.values(), *unscored.values()]:
        raise DataError(f"{settings.data}: {len(wrong)} video(s) cannot be used for validation", wrong)
    for line in task.notes.lines():
        note(line)
    return plans


def make_segmenters(variables: dict[str, Any], model: HMMNConfig, mem_every: int, count: int) -> list[Segmenter]:
    """Makes one segmenter for each device of this process, but no more segmenters than the process has videos."""
    own = -(-count // jax.process_count())
    made = []
    for device in jax.local_devices()[:own]:
        with jax.default_device(device):
            made.append(Segmenter(variables, model, mem_every=mem_every))
    return made


def validate(
    segmenters: Sequence[Segmenter], plans: Sequence[Plan], size: int = 0, stop: Callable[[], bool] = lambda: False
) -> Validation | None:
    """Segments videos and scores the predicted masks.

    With several processes, each process segments different videos, and all processes return the same scores.

    Args:
      segmenters: segmenters with the variables to validate. The i-th segmenter is on the i-th device of this process. Each idle
        segmenter takes the next video.
      plans: the videos, as returned by `find_validation`.
      size: length to which the shorter side of frames is scaled; 0 means no scaling. Probabilities are scaled back, and scores
        are computed at full size.
      stop: a function that is called after each frame and returns whether to stop.

    Returns:
      The results, or None in all processes if any process was stopped.
    """
    own = plans[jax.process_index() :: jax.process_count()]
    waiting = collections.deque(range(len(own)))
    found: dict[int, tuple[SequenceScores, np.ndarray]] = {}

    def work(segmenter: Segmenter, device: jax.Device) -> None:
        with jax.default_device(device):
            while waiting:
                try:
                    i = waiting.popleft()
                except IndexError:  # another thread took the last video
                    return
                found[i] = _score(segmenter, own[i], size, stop)

    stopped = False
    try:
        run_each(work, list(zip(segmenters, jax.local_devices(), strict=False)), waiting.clear)
    except _Stopped:
        stopped = True
    sums = np.zeros(4)  # sum of J, sum of F, number of objects, number of stopped processes
    sums[3] = stopped
    if not stopped:
        for scores, _ in found.values():
            for j, f in zip(scores.j, scores.f, strict=True):
                sums[:3] += statistics(j).mean, statistics(f).mean, 1
    if jax.process_count() > 1:
        sums = multihost_utils.process_allgather(sums).sum(0)
    if sums[3]:
        return None
    j, f = float(sums[0] / sums[2]), float(sums[1] / sums[2])
    in_order = [(plan.clip.name, *found[i]) for i, plan in enumerate(own)]
    by_name = {name: float(np.nanmean(scores.j) + np.nanmean(scores.f)) / 2 for name, scores, _ in in_order}
    sheet = np.concatenate([row for *_, row in in_order[:SHEET_SEQUENCES]]) if in_order else None
    return Validation({"jf": (j + f) / 2, "j": j, "f": f}, by_name, sheet)


class _Stopped(Exception):
    """Raised when `stop` returns True."""


def _score(segmenter: Segmenter, plan: Plan, size: int, stop: Callable[[], bool]) -> tuple[SequenceScores, np.ndarray]:
    """Segments one video. Returns its scores and a picture of `SHEET_FRAMES` predictions.

    Raises _Stopped if `stop` returns True.
    """
    clip = plan.clip

    def frames() -> Iterator[np.ndarray]:
        for image in clip.video:
            shown.append(Image.fromarray(image).resize(SHEET_SIZE[::-1]))
            yield image

    def predictions() -> Iterator[ScoredFrame]:
        for t, found in enumerate(segment_augmented(segmenter, frames(), given, Augmentation(size)), 1):
            if stop():
                raise _Stopped
            picture, shown[t] = shown[t], None
            if t in pictured:
                ids = Image.fromarray(found.mask).resize(SHEET_SIZE[::-1], Image.Resampling.NEAREST)
                pictures[t] = overlay(np.asarray(picture), np.array(ids))
            if t in plan.frames:
                yield t, clip.frame_name(t), found.mask, plan.read_truth(t, *clip.size), f"{clip.name}, frame {t}"

    given = clip.read_given(*clip.size)
    if plan.single_object:
        given = {t: (_as_ids(mask, clip.size) > 0).astype(np.uint8) for t, mask in given.items()}
    shown: list[Image.Image | None] = []
    pictures: dict[int, np.ndarray] = {}
    pictured = np.linspace(1, len(clip) - 1, SHEET_FRAMES).astype(int).tolist()
    scores = plan.score(predictions())
    return scores, np.concatenate([pictures[t] for t in pictured], axis=1)


def _as_ids(given: Given, size: tuple[int, int]) -> np.ndarray:
    """Returns a given mask as an array of ids. The given mask is such an array, or a dict of masks by id."""
    return flatten(given, size) if isinstance(given, Mapping) else given
