"""Runs the forward and backward passes over a range of frames, one pass at a time. Edits during a pass are allowed."""

import functools
from collections.abc import Callable, Generator, Iterator

from hmmn_jax.inference import Segmenter
from hmmn_jax.inference.augmentation import Augmentation
from hmmn_jax.io.packed import ArrayPool
from hmmn_jax.io.video import Video
from hmmn_jax.session.ledger import Ledger
from hmmn_jax.session.passes import merge_pass, run_pass
from hmmn_jax.session.queries import Queries
from hmmn_jax.session.results import FrameResult, frame_result
from hmmn_jax.session.segments import Segment, reach, segments
from hmmn_jax.session.timeline import BACKWARD, FORWARD, Prediction

DIRECTIONS = {"forward": (FORWARD,), "backward": (BACKWARD,), "both": (FORWARD, BACKWARD)}


class Propagation:
    """Runs passes on one video and records their results in a ledger."""

    def __init__(
        self,
        segmenter: Segmenter,
        video: Video,
        ledger: Ledger,
        pool: ArrayPool,
        queries: Queries,
        size: int = 0,
        by_reliability: bool = False,
    ):
        """`size` and `by_reliability` are the arguments `size` and `weigh_by_reliability` of `Session`."""
        (view,) = Augmentation(size).views(*video.size)
        self.view = None if (view.height, view.width) == tuple(video.size) else view
        self.segmenter, self.video, self.ledger, self.pool, self.queries = segmenter, video, ledger, pool, queries
        self.by_reliability = by_reliability

    def run(
        self,
        start: int,
        stop: int,
        direction: str,
        is_stopped: Callable[[], bool],
        on_frame: Callable[[int], None] | None = None,
    ) -> Generator[tuple[int, FrameResult], None, None]:
        """Computes the frames start <= t < stop that are not up to date. Yields the same results as `Session.propagate`.

        Args:
            start: the first frame.
            stop: the frame after the last one.
            direction: a key of `DIRECTIONS`.
            is_stopped: called before each pass and after each frame; returns whether to stop.
            on_frame: called with the index of each computed frame.
        """
        sent: dict[int, Prediction] = {}
        edits, todo = self._plan(start, stop, direction)
        while todo and not is_stopped():
            segment, way = todo.pop(0)
            for t in self._pass(segment, way, on_frame):
                timeline = self.ledger.timeline
                found = timeline.current(t)
                if t in segment.frames and found is not None and sent.get(t) is not found:
                    sent[t] = found
                    yield t, frame_result(timeline, t)
                if is_stopped():
                    return
            if self.ledger.edits != edits:  # after an edit, plan again; frames that are up to date are omitted
                edits, todo = self._plan(start, stop, direction)

    def count(self, start: int, stop: int, direction: str) -> int:
        """Number of frames that `run` would compute without further edits."""
        timeline, total = self.ledger.timeline, 0
        for segment in segments(timeline.stamps, start, stop):
            for way in DIRECTIONS[direction]:
                anchor = segment.anchor(way)
                last = None if anchor is None else reach(timeline, segment, way)
                if anchor is not None and last is not None:
                    total += abs(last - anchor.frame)
        return total

    def _plan(self, start: int, stop: int, direction: str) -> tuple[int, list[tuple[Segment, str]]]:
        """Returns the number of edits so far, and the passes that the range needs, in order."""
        edits = self.ledger.edits  # read before planning, so that an edit during planning causes a new plan
        found = segments(self.ledger.timeline.stamps, start, stop)
        return edits, [(segment, way) for segment in found for way in DIRECTIONS[direction]]

    def _pass(self, segment: Segment, way: str, on_frame: Callable[[int], None] | None) -> Iterator[int]:
        """Runs one pass as far as needed. Yields the indices of the computed frames, then the other indices in `segment`.

        The pass ends early if the anchors of the segment have changed.
        """
        basis, timeline = segment.basis, self.ledger.timeline
        anchor = segment.anchor(way)
        rest = list(segment.frames if way == FORWARD else reversed(segment.frames))
        last = None if anchor is None else reach(timeline, segment, way)
        if anchor is not None and last is not None:
            if not set(basis.starts.values()) <= set(timeline.stamps):
                return
            picture, areas = timeline.anchors[anchor.frame], None
            if self.by_reliability:
                areas = {start: timeline.anchors[stamp.frame].areas for start, stamp in basis.starts.items()}
            order = anchor.frame, picture, last
            for t, found in run_pass(self.segmenter, self.video, *order, self.pool, self.queries, self.view):
                predict = functools.partial(merge_pass, basis, t, direction=way, picture=found, pool=self.pool, areas=areas)
                if not self.ledger.record(basis, t, predict):
                    return
                if on_frame is not None:
                    on_frame(t)
                yield t
            rest = rest[rest.index(last) + 1 :]
        yield from rest
