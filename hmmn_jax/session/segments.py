"""Splits a range of frames at the anchors, and determines how far each pass has to run."""

from collections.abc import Sequence
from typing import NamedTuple

from hmmn_jax.session.timeline import FORWARD, Basis, Stamp, Timeline


class Segment(NamedTuple):
    """Frames of a range that are between two neighbouring anchors, before the first anchor, or after the last anchor.

    Attributes:
        frames: one or more frames, in ascending order.
        basis: the anchors on which the frames depend.
    """

    frames: range
    basis: Basis

    def anchor(self, direction: str) -> Stamp | None:
        """Returns the anchor from which the pass in this direction starts, or None if this anchor does not exist."""
        return self.basis.before if direction == FORWARD else self.basis.after


def segments(stamps: Sequence[Stamp], start: int, stop: int) -> list[Segment]:
    """Returns the segments of the range start <= t < stop, in order. `stamps` are all anchors, in order."""
    found = []
    for before, after in zip((None, *stamps), (*stamps, None), strict=True):
        first = start if before is None else max(start, before.frame + 1)
        end = stop if after is None else min(stop, after.frame)
        if first < end:
            found.append(Segment(range(first, end), Basis(before, after)))
    return found


def reach(timeline: Timeline, segment: Segment, direction: str) -> int | None:
    """Returns the last frame that a pass has to reach, or None if the pass is not needed.

    This frame is the farthest from the anchor among the frames without a current prediction from a pass in this direction.
    """
    lacking = []
    for t in segment.frames:
        current = timeline.current(t)
        if current is None or direction not in current.passes:
            lacking.append(t)
    return (max if direction == FORWARD else min)(lacking, default=None)
