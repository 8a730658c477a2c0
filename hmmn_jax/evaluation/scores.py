"""J and F of sequences in memory, and their means, recalls and decays over objects, as the DAVIS benchmark reports them."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, UInt8

from hmmn_jax.errors import DataError
from hmmn_jax.evaluation.jf import frame_scores
from hmmn_jax.layouts import VOID, settle_ids


@dataclass(frozen=True)
class Statistics:
    """Of J or F over time: the mean, the share of frames above 0.5, and the loss from the first quarter to the last."""

    mean: float
    recall: float
    decay: float


@dataclass(frozen=True)
class SequenceScores:
    """J and F, in [0, 1], of the objects of a sequence (ids 1, 2, ...) on its scored frames."""

    name: str
    frame_names: tuple[str, ...]
    j: Float64[np.ndarray, "o t"]
    f: Float64[np.ndarray, "o t"]

    def of_object(self, object_id: int) -> "SequenceScores":
        """Gives the scores of one object alone."""
        one = slice(object_id - 1, object_id)
        return SequenceScores(self.name, self.frame_names, self.j[one], self.f[one])


@dataclass(frozen=True)
class Summary:
    """J and F of a number of objects, every object counting the same."""

    objects: int
    j: Statistics
    f: Statistics

    @property
    def jf_mean(self) -> float:
        """J&F, the mean of the two means."""
        return (self.j.mean + self.f.mean) / 2


def score_sequence(
    pred: UInt8[np.ndarray, "t1 h1 w1"], truth: UInt8[np.ndarray, "t h w"], single_object: bool = False, name: str = "sequence"
) -> SequenceScores:
    """Scores predicted ids against annotated ones, both of all frames of a sequence.

    The first and the last frame are not scored. The objects are 1 to the greatest id of `truth[0]`, those included that are
    not in it; 255 is void, which counts as background in both. `single_object` is the protocol of DAVIS-2016: all ids are one
    object, and so is 255 alone. Raises DataError for arrays of different shapes, fewer than three frames, no object in
    `truth[0]`, or a predicted id beyond its objects.
    """
    if pred.shape != truth.shape:
        raise DataError(f"{name}: predicted masks {pred.shape} for annotated ones {truth.shape}; give one for every frame")
    scored = scored_frames(len(truth), name)
    frames = ((f"{t:05d}", pred[t], truth[t], f"{name}, frame {t}") for t in scored)
    return score_frames(truth[0], frames, single_object, name)


def score_frames(
    first: UInt8[np.ndarray, "h w"], frames: Iterable[tuple[str, np.ndarray, np.ndarray, str]], single_object: bool, name: str
) -> SequenceScores:
    """Scores frames as they come; see `score_sequence`.

    Args:
        first: the annotation of the sequence's first frame, which says what objects there are.
        frames: name, predicted ids, annotated ids, and what to call the prediction in errors, of every frame to score.
        single_object: as for `score_sequence`.
        name: of the sequence.
    """
    if not (objects := int(scored_ids(first, single_object).max(initial=0))):
        raise DataError(f"{name}: no object in the first annotation (255 is void unless single_object); nothing to score")
    names, j, f = [], [], []
    for frame_name, pred, truth, source in frames:
        pred, truth = scored_ids(pred, single_object), scored_ids(truth, single_object)
        if (greatest := int(pred.max(initial=0))) > objects:
            raise DataError(f"{source}: the id {greatest}; the first annotation has ids up to {objects}: keep the ids given")
        frame_j, frame_f = frame_scores(pred, truth, objects)
        names.append(frame_name)
        j.append(frame_j)
        f.append(frame_f)
    return SequenceScores(name, tuple(names), np.stack(j, axis=1), np.stack(f, axis=1))


def scored_frames(length: int, name: str) -> range:
    """Gives the frames of a sequence that are scored: all but the first and the last. Raises DataError if none is left."""
    if length < 3:
        raise DataError(f"{name}: {length} frames, of which the first and the last are not scored; give three or more")
    return range(1, length - 1)


def statistics(values: Float64[np.ndarray, " t"]) -> Statistics:
    """Gives mean, recall and decay of J or F over the scored frames of one object, at least one."""
    edges = np.round(np.linspace(1, len(values), 5) + 1e-10).astype(int) - 1
    first, last = values[edges[0] : edges[1] + 1], values[edges[3] : edges[4] + 1]  # neighbours share a frame
    return Statistics(float(values.mean()), float((values > 0.5).mean()), float(first.mean() - last.mean()))


def summarize(sequences: Iterable[SequenceScores]) -> Summary:
    """Averages over all objects of the sequences: of a benchmark, or of a single one."""
    j, f = [], []
    for sequence in sequences:
        j += [statistics(values) for values in sequence.j]
        f += [statistics(values) for values in sequence.f]
    return Summary(len(j), _mean(j), _mean(f))


def _mean(objects: list[Statistics]) -> Statistics:
    return Statistics(*np.mean([(s.mean, s.recall, s.decay) for s in objects], axis=0).tolist())


def scored_ids(ids: UInt8[np.ndarray, "h w"], single_object: bool) -> UInt8[np.ndarray, "h w"]:
    """Gives the ids as they are scored: void is background; if `single_object`, all ids are one object, and so is 255 alone."""
    if single_object:
        return (settle_ids(ids) > 0).astype(np.uint8)
    return np.where(ids == VOID, np.uint8(0), ids)
