"""The results of a session: masks, probabilities and confidence. Arrays are stored in packed form, and unpacked on demand."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Integer

from hmmn_jax.session.picture import Picture, with_background
from hmmn_jax.session.timeline import Timeline


@dataclass(frozen=True, eq=False)
class FrameResult:
    """The result of a session for one frame. Arrays are unpacked on each access.

    Attributes:
        state: "annotated", "final", "provisional" (another pass is needed) or "stale".
        confidence: the confidence of each object that has pixels, from 0 to 1.
    """

    state: str
    confidence: Mapping[int, float]
    _picture: Picture

    @property
    def final(self) -> bool:
        """Whether the result needs no further pass."""
        return self.state in ("annotated", "final")

    @property
    def ids(self) -> tuple[int, ...]:
        """The id of each channel of `probs`: the background (0), then the objects in ascending order."""
        return 0, *self._picture.ids

    @property
    def mask(self) -> Integer[np.ndarray, "H W"]:
        """The id of each pixel, as uint8, or as uint16 if an id is above 255."""
        return self._picture.mask

    @property
    def probs(self) -> Float[np.ndarray, "o1 H W"]:
        """The probabilities of the background and the objects, stored in steps of 1/255 and normalised to a sum of 1."""
        return with_background(self._picture.objects())


class Masks(Mapping):
    """A mapping from frame indices to masks. Masks are unpacked on demand."""

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
    """The confidence of each object in each frame, as `confidence[t, object]`."""

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
    """The confidence of each object that has pixels in a frame; 1 if the frame is annotated."""
    if t in timeline.anchors:
        return dict.fromkeys(timeline.anchors[t].ids, 1.0)
    found = timeline.predictions.get(t)
    return {} if found is None else found.confidence
