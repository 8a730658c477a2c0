"""Stores the current and earlier timelines of a session, protected by a lock. A ledger supports edits, undo and new results."""

import threading
from collections.abc import Callable

from hmmn_jax.session.timeline import Basis, Prediction, Timeline

MOST_UNDONE = 32  # maximum number of edits that can be undone


class Ledger:
    """Stores the current timeline. Edits and passes can replace the timeline from several threads.

    Attributes:
        timeline: the current timeline.
        edits: number of edits and undo operations so far.
    """

    def __init__(self, timeline: Timeline | None = None):
        self.timeline = timeline or Timeline()
        self.edits = 0
        self._history: list[Timeline] = []
        self._lock = threading.RLock()

    def edit(self, change: Callable[[Timeline], Timeline]) -> None:
        """Replaces the timeline with the result of `change`. If `change` raises an error, nothing changes."""
        with self._lock:
            changed = change(self.timeline)
            self._history = [*self._history, self.timeline][-MOST_UNDONE:]
            self.timeline = changed
            self.edits += 1

    def undo(self) -> bool:
        """Undoes the last edit. Returns whether there was an edit to undo."""
        with self._lock:
            if not self._history:
                return False
            self.timeline = self.timeline.taken_back(self._history.pop())
            self.edits += 1
            return True

    def record(self, basis: Basis, t: int, predict: Callable[[Prediction | None], Prediction]) -> bool:
        """Adds the result of a pass for one frame.

        Args:
            basis: the anchors of the frame when the pass started.
            t: the frame.
            predict: computes the new prediction from the current prediction. The argument of `predict` is None if the current
                prediction is stale or missing.

        Returns:
            Whether the frame still depends on the anchors in `basis`. A result for other anchors is discarded.
        """
        with self._lock:
            timeline = self.timeline
            if t in timeline.anchors or timeline.basis(t) != basis:
                return False
            current = timeline.current(t)
            if (prediction := predict(current)) is not current:
                self.timeline = timeline.predicted(t, prediction)
            return True
