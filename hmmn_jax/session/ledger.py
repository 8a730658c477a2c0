"""The present timeline of a session and the earlier ones, behind one lock: edits, undo, and what a pass has found."""

import threading
from collections.abc import Callable

from hmmn_jax.session.timeline import Basis, Prediction, Timeline

MOST_UNDONE = 32  # edits that can be taken back


class Ledger:
    """Holds one timeline, which edits and passes of several threads replace.

    Attributes:
        timeline: the present one.
        edits: how many edits were made or taken back.
    """

    def __init__(self, timeline: Timeline | None = None):
        self.timeline = timeline or Timeline()
        self.edits = 0
        self._history: list[Timeline] = []
        self._lock = threading.RLock()

    def edit(self, change: Callable[[Timeline], Timeline]) -> None:
        """Replaces the timeline by what `change` makes of it. Where that raises an error, nothing changes."""
        with self._lock:
            changed = change(self.timeline)
            self._history = [*self._history, self.timeline][-MOST_UNDONE:]
            self.timeline = changed
            self.edits += 1

    def undo(self) -> bool:
        """Takes back the last edit. Says whether there was one."""
        with self._lock:
            if not self._history:
                return False
            self.timeline = self.timeline.taken_back(self._history.pop())
            self.edits += 1
            return True

    def record(self, basis: Basis, t: int, predict: Callable[[Prediction | None], Prediction]) -> bool:
        """Adds what a pass has found of a frame.

        Args:
            basis: the anchors that the frame depended on when the pass started.
            t: the frame.
            predict: makes a prediction of the present one, which is None if that is stale or missing.

        Returns:
            Whether the frame still depends on these anchors; else nothing is added.
        """
        with self._lock:
            timeline = self.timeline
            if t in timeline.anchors or timeline.basis(t) != basis:
                return False
            current = timeline.current(t)
            if (prediction := predict(current)) is not current:
                self.timeline = timeline.predicted(t, prediction)
            return True
