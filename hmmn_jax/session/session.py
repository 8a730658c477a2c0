"""`Session` propagates the masks of annotated frames through a video, and recomputes frames after corrections."""

import math
import operator
import os
from collections.abc import Callable, Generator, Mapping, Sequence

import numpy as np
from jaxtyping import Array, Bool, Integer

from hmmn_jax.datasets.listing import list_frames
from hmmn_jax.inference import Segmenter
from hmmn_jax.inference.inputs import Mask, as_mask
from hmmn_jax.io.files import user_path
from hmmn_jax.io.image_video import ImageVideo
from hmmn_jax.io.packed import BUDGET, ArrayPool
from hmmn_jax.io.video import ArrayVideo, Video
from hmmn_jax.io.video_file import open_video
from hmmn_jax.session.confidence import most_doubtful
from hmmn_jax.session.ledger import Ledger
from hmmn_jax.session.picture import complete, ids_of
from hmmn_jax.session.propagation import DIRECTIONS, Propagation
from hmmn_jax.session.queries import Queries, default_budget
from hmmn_jax.session.results import Confidence, FrameResult, Masks, frame_result
from hmmn_jax.session.store import SessionFolder
from hmmn_jax.session.timeline import Timeline


class Session:
    """Computes the masks of one video from any number of annotated frames.

    ::

        session = Session(segmenter, "clip.mp4")
        session.annotate(0, mask)
        for t, result in session.propagate():
            show(t, result.mask)
        session.annotate(session.next_to_annotate(), corrected)  # then propagate again

    An annotated frame is an anchor: the segmenter restarts there with the complete mask. A frame without an annotation depends
    on the nearest anchors before and after it. A frame becomes stale when its nearest anchors, or the masks of these anchors,
    change. The mask of a stale frame remains available until the frame is recomputed.

    Methods may be called from other threads while one thread propagates.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        video: Video | np.ndarray | Sequence | str | os.PathLike,
        *,
        size: int = 0,
        weigh_by_reliability: bool = False,
        memory: int = BUDGET,
        encoded: int | None = None,
    ):
        """Creates a session without annotations.

        Args:
            segmenter: a segmenter for non-overlapping objects.
            video: a `Video`, a folder of images, a video file, uint8 [T,H,W,3] or a list of uint8 [H,W,3].
            size: shorter side of the network's input, in pixels; 0: the size of the frames. Masks always have the size of the
                frames, because the probabilities are resized.
            weigh_by_reliability: whether to also weight passes between annotated frames by their reliability for each object.
                The reliability is the confidence of the object times the number of the object's pixels in the annotated frame
                where the pass starts. A pass that has lost the object has no weight. A pass that starts where the object is
                mostly hidden has little weight. If False, passes are weighted only by the position of the frame.
            memory: memory budget for compressed masks and probabilities, in bytes. Data beyond this budget is stored in
                temporary files.
            encoded: memory budget for the cache of encoded frames, in bytes. The cache avoids encoding a frame again in a
                second pass. None: a quarter of the free memory, but at most 1 GiB. 0: no cache.

        Raises:
            DataError: a file cannot be read.
            ConfigError: the size is negative.
            ValueError: the arrays are not frames of one size, or the segmenter was created with `independent=True`.
        """
        if segmenter.independent:
            raise ValueError("the segmenter has independent=True, but a session needs a segmenter with independent=False")
        self.segmenter, self.video = segmenter, as_video(video)
        self._pool = ArrayPool(memory)
        self._ledger = Ledger()
        queries = Queries(segmenter.encode, default_budget() if encoded is None else encoded)
        self._propagation = Propagation(
            self.segmenter, self.video, self._ledger, self._pool, queries, size, weigh_by_reliability
        )
        self._stops = 0
        self._count: int | None = None
        self._folder: SessionFolder | None = None

    def __len__(self) -> int:
        """The number of frames. The first call decodes a video file to its end."""
        if self._count is None:
            self._count = len(self.video)
        return self._count

    # Current state

    @property
    def timeline(self) -> Timeline:
        """An immutable snapshot of all current results."""
        return self._ledger.timeline

    @property
    def annotated(self) -> tuple[int, ...]:
        """The annotated frames, in ascending order."""
        return tuple(sorted(self._ledger.timeline.anchors))

    @property
    def objects(self) -> tuple[int, ...]:
        """The ids of all objects in any frame, in ascending order."""
        return self._ledger.timeline.objects

    @property
    def masks(self) -> Mapping[int, Integer[np.ndarray, "H W"]]:
        """The masks (ids, [H,W]) of all annotated or computed frames, including stale frames, by frame index."""
        return Masks(self._ledger.timeline)

    @property
    def confidence(self) -> Confidence:
        """The confidence of an object in a frame, as `confidence[t, object]`, from 0 to 1.

        The confidence is NaN if the object has no pixels, and 1 if the frame is annotated. See `hmmn_jax.session.confidence`
        for the definition.
        """
        return Confidence(self._ledger.timeline)

    def state(self, t: int) -> str:
        """Returns the state of a frame: "annotated", "final", "provisional" (another pass is needed), "stale" or "missing"."""
        return self._ledger.timeline.state(t)

    def result(self, t: int) -> FrameResult:
        """Returns the result for a frame. Raises KeyError for a missing frame."""
        return frame_result(self._ledger.timeline, t)

    def find(self, t: int) -> FrameResult | None:
        """Returns the result for a frame; None for a missing frame. This method can be passed to `hmmn_jax.exports.export`."""
        try:
            return self.result(t)
        except KeyError:
            return None

    def next_to_annotate(self) -> int | None:
        """Returns the frame to annotate next: the frame with the lowest confidence among the frames that are up to date.

        If no frame is up to date, the frame farthest from any annotated frame is returned. If all frames are annotated, None is
        returned.
        """
        timeline = self._ledger.timeline
        found = {}
        for t in timeline.predictions:
            if (current := timeline.current(t)) is not None:
                found[t] = [current.confidence.get(k, math.nan) for k in current.picture.ids]
        return most_doubtful(found, self.annotated, len(self))

    # Edits

    def annotate(self, t: int, mask: Mask, unknown: Bool[Array | np.ndarray, "H W"] | None = None) -> None:
        """Annotates a frame with its complete mask. The mask replaces any earlier result for the frame.

        The frames up to the neighbouring anchors become stale, unless the frame already had the same annotation.

        Args:
            t: the frame.
            mask: ids [H,W], uint8 or uint16. In a bool mask, True is object 1. 0 is background and erases objects.
            unknown: pixels whose values in `mask` are ignored because the model decides their ids. Unknown pixels get the
                current probabilities of the frame, or become background if the frame has no result yet.

        Raises:
            IndexError: the frame does not exist.
            ValueError: the mask has the wrong type or size, or contains an id that was removed or merged into another id.
        """
        t = self._index(t)
        height, width = self.video.size
        mask = as_mask(mask, (height, width))
        if unknown is not None:
            unknown = np.asarray(unknown)
            if unknown.shape != (height, width) or unknown.dtype != np.bool_:
                raise ValueError(f"unknown is {unknown.dtype} {list(unknown.shape)}, expected bool {[height, width]}")
        known = mask if unknown is None else mask[~unknown]

        def change(timeline: Timeline) -> Timeline:
            for k in ids_of(known):
                if k in timeline.gone:
                    into = timeline.gone[k]
                    found = f"was merged into {into}" if into else "was removed"
                    raise ValueError(f"the mask contains object {k}, which {found}. Use another id, or undo that edit.")
            return timeline.annotated(t, complete(self._pool, mask, unknown, timeline.picture(t)))

        self._ledger.edit(change)

    def unannotate(self, t: int) -> None:
        """Removes the annotation of a frame.

        The state of the frame becomes "missing", and the frames that depended on the annotation become stale. `undo` restores
        the annotation. Raises ValueError for a frame that is not annotated.
        """
        self._ledger.edit(lambda timeline: timeline.unannotated(t))

    def remove(self, k: int) -> None:
        """Replaces object `k` with background in all frames, immediately. The id `k` cannot be used again.

        Frames computed with the object become stale. `undo` restores the object. Raises ValueError for an unknown object.
        """
        self._ledger.edit(lambda timeline: _require(timeline, k).renamed(k, 0))

    def merge(self, a: int, b: int) -> None:
        """Makes object `b` part of object `a` in all frames, immediately. The id `b` cannot be used again.

        Frames computed with object `b` become stale. `undo` separates the objects again. Raises ValueError if an object is
        unknown or if `a` equals `b`.
        """
        if a == b:
            raise ValueError(f"object {a} cannot be merged with itself")
        self._ledger.edit(lambda timeline: _require(timeline, a, b).renamed(b, a))

    def undo(self) -> bool:
        """Undoes the last edit: an annotation, its removal, or the removal or merge of an object.

        Returns whether there was an edit to undo.

        The last 32 edits can be undone, except edits made before the session was loaded.
        """
        return self._ledger.undo()

    # Propagation

    def propagate(
        self,
        start: int = 0,
        stop: int | None = None,
        direction: str = "both",
        *,
        on_frame: Callable[[int], None] | None = None,
    ) -> Generator[tuple[int, FrameResult], None, None]:
        """Yields the results for the frames start <= t < stop that are not annotated. Frames are computed on demand.

        Passes start at the nearest anchors. If an anchor is outside the range, the frames between the anchor and the range are
        computed and stored, but not yielded. Frames that are up to date are not computed again. If the generator is closed, the
        results so far are kept. Edits during propagation are safe: the remaining frames use the new anchors.

        Args:
            start: the first frame.
            stop: the frame after the last one; None: the end of the video.
            direction: "forward" (from the previous anchors), "backward" (from the next anchors) or "both".
            on_frame: called with the index of each computed frame, including frames outside the range.

        Yields:
            The index of a frame and its result. If `direction` is "both", a frame between two anchors is yielded twice: first
            as provisional, after one pass, then as final, after both passes. A frame that is already final is yielded once.

        Raises:
            ValueError: no frame is annotated, the range is empty or exceeds the video, or the direction is unknown.
            DataError: a frame cannot be read.
        """
        start, end = self._range(start, stop, direction)
        if not self._ledger.timeline.anchors:
            raise ValueError("no frame is annotated. Call annotate first.")
        stops = self._stops
        return self._propagation.run(start, end, direction, lambda: self._stops != stops, on_frame)

    def frames_to_compute(self, start: int = 0, stop: int | None = None, direction: str = "both") -> int:
        """Returns the number of frames that `propagate` would compute now. A frame that needs two passes is counted twice.

        Raises ValueError for an invalid range or direction.
        """
        return self._propagation.count(*self._range(start, stop, direction), direction)

    def stop(self) -> None:
        """Stops all running `propagate` generators after their current frame. Call this method from another thread."""
        self._stops += 1

    # Files

    def save(self, folder: str | os.PathLike) -> None:
        """Writes annotations, masks, probabilities and states to a folder atomically.

        Later calls with the same folder write only the changes. The video, the segmenter and the undo history are not saved.

        Raises:
            DataError: the folder contains other files or is not writable.
        """
        path = user_path(folder)
        if self._folder is None or self._folder.path != path:
            height, width = self.video.size
            self._folder = SessionFolder(path, (height, width))
        self._folder.save(self._ledger.timeline)

    @classmethod
    def load(
        cls,
        folder: str | os.PathLike,
        segmenter: Segmenter,
        video: Video | np.ndarray | Sequence | str | os.PathLike,
        *,
        size: int = 0,
        weigh_by_reliability: bool = False,
        memory: int = BUDGET,
    ) -> "Session":
        """Reads a saved session. No code in the files is executed.

        Args:
            folder: the folder that `save` wrote.
            segmenter: see `Session`.
            video: the video of the saved session, in any form that `Session` accepts.
            size: see `Session`. If the size has changed, masks that are up to date are not recomputed.
            weigh_by_reliability: see `Session`.
            memory: see `Session`.

        Raises:
            DataError: the folder does not contain a session or is damaged, or the frames of the video have a different size.
        """
        session = cls(segmenter, video, size=size, weigh_by_reliability=weigh_by_reliability, memory=memory)
        height, width = session.video.size
        session._ledger.timeline = SessionFolder(user_path(folder), (height, width)).load(session._pool)
        return session

    def _range(self, start: int, stop: int | None, direction: str) -> tuple[int, int]:
        """Checks the range and the direction, and returns the range as integers. Raises ValueError if either is invalid."""
        if direction not in DIRECTIONS:
            raise ValueError(f"direction is {direction!r}, expected forward, backward or both")
        count = len(self)
        start, end = operator.index(start), count if stop is None else operator.index(stop)
        if not 0 <= start < end <= count:
            raise ValueError(f"start is {start} and stop is {stop}, expected 0 <= start < stop <= {count} (the frame count)")
        return start, end

    def _index(self, t: int) -> int:
        """Checks the index of a frame without decoding the video to its end."""
        t = operator.index(t)
        if t < 0:
            raise IndexError(f"the frame index is {t}, expected at least 0")
        if self._count is None:
            self.video[t]
        elif t >= self._count:
            raise IndexError(f"the frame index is {t}, expected an index below {self._count}")
        return t


def _require(timeline: Timeline, *ids: int) -> Timeline:
    """Returns the timeline if it contains all objects in `ids`. Raises ValueError otherwise."""
    for k in ids:
        if k not in timeline.objects:
            known = ", ".join(map(str, timeline.objects)) or "none"
            raise ValueError(f"there is no object {k}. The session contains these objects: {known}")
    return timeline


def as_video(video: Video | np.ndarray | Sequence | str | os.PathLike) -> Video:
    """Returns a path or arrays as a `Video`. Raises DataError for unreadable files, and ValueError for invalid arrays."""
    if isinstance(video, Video):
        return video
    if isinstance(video, str | os.PathLike):
        path = user_path(video)
        return ImageVideo(list_frames(path), path.name) if path.is_dir() else open_video(path)
    return ArrayVideo(video)
