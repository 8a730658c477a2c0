"""Computes J and F of sequences from arrays of ids, and their mean, recall and decay, as in the DAVIS benchmark."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float64, Integer, UInt8

from hmmn_jax.errors import DataError
from hmmn_jax.io.images import settle_ids
from hmmn_jax.metrics.jf import frame_scores, number_ids

Scores = TypeVar("Scores", bound="SequenceScores")
# Frame index, frame name, predicted ids, annotated ids, and the name of the prediction for error messages.
ScoredFrame = tuple[int, str, np.ndarray, np.ndarray, str]


@dataclass(frozen=True)
class Statistics:
    """Statistics of J or F over time.

    Attributes:
        mean: mean over the scored frames.
        recall: fraction of the frames with a value above 0.5.
        decay: mean over the first quarter of the frames minus mean over the last quarter.
    """

    mean: float
    recall: float
    decay: float


@dataclass(frozen=True)
class SequenceScores:
    """J and F of the objects in a sequence on its scored frames, in [0, 1].

    Benchmarks with more scores define subclasses. Each array of a subclass has one entry per object, or one per object and
    frame.

    Attributes:
        name: name of the sequence.
        frame_names: names of the scored frames.
        j: J of each object on each frame; NaN for frames where the object is not scored.
        f: F of each object on each frame; NaN if the benchmark does not define F.
        ids: ids of the objects; by default 1, 2, ...
        indices: indices of the scored frames in the video, in order; by default 1, 2, ...
    """

    name: str
    frame_names: tuple[str, ...]
    j: Float64[np.ndarray, "o t"]
    f: Float64[np.ndarray, "o t"]
    ids: tuple[int, ...] = ()
    indices: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", self.ids or tuple(range(1, len(self.j) + 1)))
        object.__setattr__(self, "indices", self.indices or tuple(range(1, len(self.frame_names) + 1)))

    def of_object(self: Scores, object_id: int) -> Scores:
        """Returns the scores of one object, on the frames where the object is scored."""
        row = self.ids.index(object_id)
        scored = np.flatnonzero(~np.isnan(self.j[row]))
        names, indices = tuple(self.frame_names[t] for t in scored), tuple(self.indices[t] for t in scored)
        changed: dict[str, Any] = {
            field.name: value[[row]] for field in fields(self) if isinstance(value := getattr(self, field.name), np.ndarray)
        }
        changed = {name: value[:, scored] if value.ndim == 2 else value for name, value in changed.items()}
        return replace(self, frame_names=names, ids=(object_id,), indices=indices, **changed)


@dataclass(frozen=True)
class Summary:
    """The statistics of J and F, averaged over objects. Every object has the same weight.

    Attributes:
        objects: number of objects.
        j: mean, recall and decay of J.
        f: mean, recall and decay of F.
    """

    objects: int
    j: Statistics
    f: Statistics

    @property
    def jf_mean(self) -> float:
        """J&F: the average of the means of J and F, or the mean of J if there is no F."""
        return (self.j.mean + self.f.mean) / 2 if self.has_f else self.j.mean

    @property
    def has_f(self) -> bool:
        """Whether F is available."""
        return not np.isnan(self.f.mean)

    @property
    def figures(self) -> dict[str, float]:
        """The metrics by name, in the order of the DAVIS benchmark."""
        parts = {f"{name} {part}": value for name in ("j", "f") for part, value in vars(getattr(self, name)).items()}
        return {"J&F": self.jf_mean} | {name[0].upper() + name[1:]: value for name, value in parts.items()}


def score_sequence(
    pred: UInt8[np.ndarray, "t1 h1 w1"],
    truth: UInt8[np.ndarray, "t h w"],
    single_object: bool = False,
    name: str = "sequence",
    void_in_result: bool = True,
) -> SequenceScores:
    """Scores the predicted masks of a sequence by the DAVIS rules, on all frames except the first and the last.

    Args:
        pred: predicted ids of all frames, `[t,h,w]`.
        truth: annotated ids of all frames, `[t,h,w]`. The objects have the ids 1 to the largest id in `truth[0]`, including
            ids that do not occur in `truth[0]`. 255 is void and is treated as background in `pred` and `truth`.
        single_object: whether all ids are one object, as in DAVIS-2016. If 255 is the only id in a mask, pixels with this id
            belong to the object.
        name: name of the sequence, for errors and tables.
        void_in_result: whether 255 is also void in `pred`. In MOSE v1, 255 is an invalid id in predictions.

    Raises:
        DataError: the arrays have different shapes, there are fewer than three frames, `truth[0]` contains no object, or a
            predicted id is not the id of an object.
    """
    require_same_shape(pred, truth, name)
    scored = scored_frames(len(truth), name)
    frames = ((t, f"{t:05d}", pred[t], truth[t], f"{name}, frame {t}") for t in scored)
    return score_frames(truth[0], frames, single_object, name, void_in_result)


def require_same_shape(pred: np.ndarray, truth: np.ndarray, name: str) -> None:
    """Raises DataError unless every annotated mask has a predicted mask of the same size."""
    if pred.shape != truth.shape:
        found = f"the predictions have the shape {pred.shape}, but the annotations have the shape {truth.shape}"
        raise DataError(f"{name}: {found}. Provide a mask of the same size for every frame")


def score_frames(
    first: UInt8[np.ndarray, "h w"],
    frames: Iterable[ScoredFrame],
    single_object: bool,
    name: str,
    void_in_result: bool = True,
) -> SequenceScores:
    """Scores a stream of frames; see `score_sequence`.

    Args:
        first: the annotation of the sequence's first frame, which defines the objects.
        frames: the frames to score.
        single_object: whether all ids are one object; see `score_sequence`.
        name: name of the sequence.
        void_in_result: whether 255 is void in predictions; see `score_sequence`.
    """
    if not (objects := int(scored_ids(first, single_object).max(initial=0))):
        found = "the first annotation contains no object to score"
        raise DataError(f"{name}: {found}. The value 255 is void unless single_object is True")
    names, indices, j, f = [], [], [], []
    for index, frame_name, pred, truth, source in frames:
        # For a single object, every nonzero pixel of a prediction belongs to the object, including pixels with the id 255.
        if single_object:
            pred = (pred > 0).astype(np.uint8)
        elif void_in_result:
            pred = scored_ids(pred, False)
        truth = scored_ids(truth, single_object)
        if (greatest := int(pred.max(initial=0))) > objects:
            found = f"the mask contains the id {greatest}, but the first annotation has only ids up to {objects}"
            raise DataError(f"{source}: {found}. Use the ids of the first annotation")
        frame_j, frame_f = frame_scores(pred, truth, objects)
        names.append(frame_name)
        indices.append(index)
        j.append(frame_j)
        f.append(frame_f)
    ids = tuple(range(1, objects + 1))
    return SequenceScores(name, tuple(names), over_time(j, objects), over_time(f, objects), ids, tuple(indices))


def over_time(frames: Sequence[np.ndarray], objects: int) -> np.ndarray:
    """Stacks the values of all objects on each frame into an array `[objects, frames]`. `frames` may be empty."""
    return np.array(frames).reshape(len(frames), objects).T


def score_annotated(
    frames: Iterable[ScoredFrame], first: Mapping[int, int], name: str, others: Collection[int] = ()
) -> SequenceScores:
    """Scores the annotated frames of a custom video.

    Each object is scored on the annotated frames after its first annotated frame.

    Args:
        frames: the annotated frames after the first annotated frame that shows an object, each as a `ScoredFrame`.
        first: the index of the first annotated frame that contains each object, by id. Objects are not scored on this frame.
        name: name of the video.
        others: ids of objects that cannot be scored but may be predicted.

    Raises:
        DataError: a predicted id does not belong to an object.
    """
    ids = sorted(first)
    names, indices, j, f = [], [], [], []
    for index, frame_name, pred, truth, source in frames:
        if len(unknown := np.setdiff1d(pred, [0, *ids, *others])):
            known = ", ".join(map(str, sorted({*ids, *others})))
            found = f"the mask contains the id {unknown[0]}, but the annotations have only the ids {known}"
            raise DataError(f"{source}: {found}. Use the ids of the annotations")
        counts = np.array([index > first[i] for i in ids])
        frame_j, frame_f = frame_scores(number_ids(pred, ids), number_ids(truth, ids), len(ids))
        names.append(frame_name)
        indices.append(index)
        j.append(np.where(counts, frame_j, np.nan))
        f.append(np.where(counts, frame_f, np.nan))
    return SequenceScores(name, tuple(names), over_time(j, len(ids)), over_time(f, len(ids)), tuple(ids), tuple(indices))


def scored_frames(length: int, name: str) -> range:
    """Returns the indices of all frames except the first and the last. Raises DataError for fewer than three frames."""
    if length < 3:
        found = f"the video has {length} frames, expected at least three"
        raise DataError(f"{name}: {found}. The first and the last frame are not scored")
    return range(1, length - 1)


def statistics(values: Float64[np.ndarray, " t"]) -> Statistics:
    """Returns the mean, recall and decay of J or F over the scored frames of one object; NaN values are ignored.

    The statistics are NaN if there are no values.
    """
    values = values[~np.isnan(values)]
    if not len(values):
        return Statistics(np.nan, np.nan, np.nan)
    edges = np.round(np.linspace(1, len(values), 5) + 1e-10).astype(int) - 1
    first, last = values[edges[0] : edges[1] + 1], values[edges[3] : edges[4] + 1]  # adjacent quarters share a frame
    return Statistics(float(values.mean()), float((values > 0.5).mean()), float(first.mean() - last.mean()))


def summarize(sequences: Iterable[SequenceScores]) -> Summary:
    """Averages the scores over all objects of one or more sequences."""
    j, f = [], []
    for sequence in sequences:
        j += [statistics(values) for values in sequence.j]
        f += [statistics(values) for values in sequence.f]
    return Summary(len(j), _mean(j), _mean(f))


def _mean(objects: list[Statistics]) -> Statistics:
    return Statistics(*np.mean([(s.mean, s.recall, s.decay) for s in objects], axis=0).tolist())


def scored_ids(ids: Integer[np.ndarray, "h w"], single_object: bool) -> Integer[np.ndarray, "h w"]:
    """Returns the ids for scoring, with void as background.

    If `single_object` is True, all ids are one object. If 255 is the only id, pixels with this id also belong to the object.
    """
    if single_object:
        return (settle_ids(ids) > 0).astype(np.uint8)
    return settle_ids(ids, False)
