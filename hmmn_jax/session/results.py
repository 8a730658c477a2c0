"""The results of a session: masks, probabilities and confidence. They are stored packed and unpacked on demand."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Integer

from hmmn_jax.session.picture import Picture, with_background
from hmmn_jax.session.timeline import Timeline


@dataclass(frozen=True, eq=False)
class FrameResult:
    """The result of a session for one frame. Arrays are unpacked at each access.

    Attributes:
        state: "annotated", "final", "provisional" (a further pass is needed), "stale".
        confidence: confidence of each object that has a pixel, from 0 to 1.
    """

    state: str
    confidence: Mapping[int, float]
    _picture: Picture

    @property
    def final(self) -> bool:
        """Whether no further pass is needed."""
        return self.state in ("annotated", "final")

    @property
    def ids(self) -> tuple[int, ...]:
        """The id of each channel of `probs`, ascending, background (0) first."""
        return 0, *self._picture.ids

    @property
    def mask(self) -> Integer[np.ndarray, "H W"]:
        """The ids; uint8, or uint16 if an id is above 255."""
        return self._picture.mask

    @property
    def probs(self) -> Float[np.ndarray, "o1 H W"]:
        """The probabilities of background and objects, whose sum is 1. They are stored in steps of 1/255."""
        return with_background(self._picture.objects())


class Masks(Mapping):
    """Masks by frame, unpacked on demand."""

    def __init__(self, timeline: Timeline):
        self._timeline = timeline

    def __getitem__(self, t: int) -> Integer[np.ndarray, "H W"]:
        if (picture := self._timeline.picture(t)) is None:
            raise KeyError(t)
        return picture.mask

    def __iter__(self) -> Iterator[int]:
        return iter(sorted(self._timeline.anchors.keys() | self._timeline.predictions.keys()))

    def __len__(self) -> int:
        return len(self._timeline.anchors.keys() | self._timeline.predictions.keys())


class Confidence:
    """Confidence by frame and object."""

    def __init__(self, timeline: Timeline):
        self._timeline = timeline

    def __getitem__(self, key: tuple[int, int]) -> float:
        t, k = key
        return confidence_of(self._timeline, t).get(k, math.nan)


def frame_result(timeline: Timeline, t: int) -> FrameResult:
    """The result of a frame. Raises KeyError for a missing frame."""
    if (picture := timeline.picture(t)) is None:
        raise KeyError(t)
    return FrameResult(timeline.state(t), confidence_of(timeline, t), picture)


def confidence_of(timeline: Timeline, t: int) -> Mapping[int, float]:
    """The confidence of each object that has a pixel in a frame: 1 if the frame is annotated."""
    if t in timeline.anchors:
        return dict.fromkeys(timeline.anchors[t].ids, 1.0)
    found = timeline.predictions.get(t)
    return {} if found is None else found.confidence
