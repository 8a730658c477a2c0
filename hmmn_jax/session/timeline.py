"""The annotated and predicted frames of a video. A timeline is immutable: each edit returns a new timeline.

A timeline also determines which frames are stale. An anchor is an annotated frame. A frame without an annotation depends only
on the nearest anchor before it and the nearest anchor after it.
"""

import bisect
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from hmmn_jax.session.picture import Picture

FORWARD, BACKWARD = "forward", "backward"
ANNOTATED, FINAL, PROVISIONAL, STALE, MISSING = "annotated", "final", "provisional", "stale", "missing"


class Stamp(NamedTuple):
    """An anchor: its frame and a digest of its content."""

    frame: int
    digest: str


class Basis(NamedTuple):
    """The anchors that a frame depends on. A field is None if there is no anchor on that side."""

    before: Stamp | None
    after: Stamp | None

    @property
    def starts(self) -> dict[str, Stamp]:
        """The anchor at which each pass to the frame starts, by direction."""
        found = ((FORWARD, self.before), (BACKWARD, self.after))
        return {direction: stamp for direction, stamp in found if stamp is not None}

    @property
    def passes(self) -> frozenset[str]:
        """The directions of the passes from the anchors to the frame."""
        return frozenset(self.starts)

    def position(self, t: int) -> float:
        """Relative position of a frame between the two anchors, from 0 at the previous anchor to 1 at the next anchor.

        Raises ValueError if an anchor is missing.
        """
        if self.before is None or self.after is None:
            raise ValueError(f"frame {t} is not between two annotated frames")
        return (t - self.before.frame) / (self.after.frame - self.before.frame)


@dataclass(frozen=True, eq=False)
class Prediction:
    """The prediction of a frame.

    Attributes:
        basis: the anchors from which the prediction was computed; None if an object of the prediction was removed or merged
            later.
        passes: the passes that the prediction contains: "forward", "backward" or both.
        picture: mask and probabilities, from one pass or from both.
        confidence: the confidence of each object that has pixels.
    """

    basis: Basis | None
    passes: frozenset[str]
    picture: Picture
    confidence: Mapping[int, float]

    @property
    def is_final(self) -> bool:
        """Whether the prediction contains all passes that its anchors allow."""
        return self.basis is not None and self.passes == self.basis.passes

    def renamed(self, old: int, new: int) -> "Prediction":
        """The prediction after a removal (`new` is 0) or a merge. A merged object gets the lower of the two confidences."""
        if old not in self.picture.names:
            return self
        confidence = {k: c for k, c in self.confidence.items() if k != old}
        if new and old in self.confidence:
            confidence[new] = min(self.confidence[old], self.confidence.get(new, 1.0))
        return replace(self, basis=None, picture=self.picture.renamed(old, new), confidence=confidence)


@dataclass(frozen=True, eq=False)
class Timeline:
    """All annotations and predictions of one video. A timeline is immutable, so its mappings must not be modified.

    Attributes:
        anchors: annotations by frame.
        predictions: predictions of the frames that are not annotated, by frame.
        gone: maps the id of each removed object to 0, and the id of each merged object to the id that replaced it.
    """

    anchors: Mapping[int, Picture] = field(default_factory=dict)
    predictions: Mapping[int, Prediction] = field(default_factory=dict)
    gone: Mapping[int, int] = field(default_factory=dict)

    @functools.cached_property
    def stamps(self) -> list[Stamp]:
        """The anchors, in ascending order of their frames."""
        return [Stamp(t, self.anchors[t].digest) for t in sorted(self.anchors)]

    @functools.cached_property
    def objects(self) -> tuple[int, ...]:
        """The ids of all objects in any frame, in ascending order."""
        pictures = [*self.anchors.values(), *(prediction.picture for prediction in self.predictions.values())]
        return tuple(sorted(set().union(*(picture.names for picture in pictures)) - {0}))

    def basis(self, t: int) -> Basis:
        """The anchors on which frame `t` depends. `t` must not be annotated."""
        after = bisect.bisect(self.stamps, (t,))
        return Basis(self.stamps[after - 1] if after else None, self.stamps[after] if after < len(self.stamps) else None)

    def current(self, t: int) -> Prediction | None:
        """The prediction of a frame if it is not stale."""
        found = self.predictions.get(t)
        return found if found is not None and found.basis == self.basis(t) else None

    def state(self, t: int) -> str:
        """The state of a frame: "annotated", "final", "provisional" (another pass is needed), "stale" or "missing"."""
        if t in self.anchors:
            return ANNOTATED
        if t not in self.predictions:
            return MISSING
        current = self.current(t)
        return STALE if current is None else FINAL if current.is_final else PROVISIONAL

    def picture(self, t: int) -> Picture | None:
        """The picture of a frame: its annotation, or else its prediction, even if the prediction is stale."""
        if t in self.anchors:
            return self.anchors[t]
        found = self.predictions.get(t)
        return None if found is None else found.picture

    def annotated(self, t: int, picture: Picture) -> "Timeline":
        """Adds an anchor at frame `t`. The anchor replaces any earlier result for this frame."""
        predictions = {s: prediction for s, prediction in self.predictions.items() if s != t}
        return replace(self, anchors={**self.anchors, t: picture}, predictions=predictions)

    def unannotated(self, t: int) -> "Timeline":
        """Removes the anchor at `t`. Raises ValueError if the frame is not annotated."""
        if t not in self.anchors:
            raise ValueError(f"frame {t} is not annotated")
        return replace(self, anchors={s: picture for s, picture in self.anchors.items() if s != t})

    def predicted(self, t: int, prediction: Prediction) -> "Timeline":
        """Adds the prediction of a frame that is not annotated."""
        return replace(self, predictions={**self.predictions, t: prediction})

    def renamed(self, old: int, new: int) -> "Timeline":
        """Renames object `old` to `new` in all frames, or to background if `new` is 0. The id `old` cannot be used again."""
        anchors = {t: picture.renamed(old, new) if old in picture.names else picture for t, picture in self.anchors.items()}
        predictions = {t: prediction.renamed(old, new) for t, prediction in self.predictions.items()}
        return Timeline(anchors, predictions, {**self.gone, old: new})

    def taken_back(self, before: "Timeline") -> "Timeline":
        """Undoes an edit. Returns the earlier timeline `before`, updated with later predictions that are still valid.

        For each frame, there may be an earlier and a later prediction. If only one prediction is up to date, that prediction
        is used. If both predictions are up to date, the prediction with more passes is used. If both predictions are stale,
        the earlier prediction is used.
        """
        predictions = {}
        for t in (before.predictions.keys() | self.predictions.keys()) - before.anchors.keys():
            found = [p for p in (before.predictions.get(t), self.predictions.get(t)) if p is not None]
            basis = before.basis(t)
            predictions[t] = max(found, key=lambda p: len(p.passes) if p.basis == basis else 0)
        return replace(before, predictions=predictions)
