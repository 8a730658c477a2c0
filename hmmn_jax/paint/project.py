"""A project: the session of one video and its objects. Each change is saved immediately and sent to all pages.

Methods are thread-safe. Each edit specifies the revision to which the edit applies. If another edit has been made after this
revision, the edit is rejected.
"""

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Integer

from hmmn_jax.paint.events import EventLog
from hmmn_jax.paint.folder import ProjectFolder, Saved
from hmmn_jax.paint.objects import PaintObject
from hmmn_jax.session import Session
from hmmn_jax.session.ledger import MOST_UNDONE
from hmmn_jax.session.picture import Picture, ids_of
from hmmn_jax.session.results import confidence_of
from hmmn_jax.session.timeline import MISSING, Timeline


class Stale(Exception):
    """Raised for an edit of an outdated revision. `revision` is the current revision."""

    def __init__(self, found: str, revision: str):
        super().__init__(f"{found} was changed in the meantime, perhaps in another window. Check the current state.")
        self.revision = revision


@dataclass
class _Shown:
    """The state of a frame as sent to pages."""

    state: str = MISSING
    picture: Picture | None = None
    edits: int = 0  # number of edits by users
    versions: int = 0  # number of times the mask was recomputed since the last edit

    @property
    def revision(self) -> str:
        return f"{self.edits}.{self.versions}"


@dataclass(frozen=True)
class _Undoable:
    """An edit that can be undone.

    Attributes:
        in_session: whether the edit must also be undone in the session.
        objects: the objects to restore when the edit is undone.
    """

    in_session: bool
    objects: tuple[PaintObject, ...] = ()


class Project:
    """One video and its masks.

    Attributes:
        session: the masks and annotations.
        log: the log of events for pages.
        revision: the current revision of the project. Each edit by a user increments the revision.
    """

    def __init__(self, session: Session, folder: ProjectFolder, saved: Saved, log: EventLog, first: int = 0):
        """Creates a project from the current state of a session.

        Args:
            session: the session of the project's video.
            folder: the folder of the project.
            saved: the content of `project.json`.
            log: the log of events for pages.
            first: the number of the first revision of a frame; the first revision of the project is one larger.
        """
        self.session, self.log = session, log
        self._folder = folder
        self._saved = replace(saved, objects=saved.objects.with_ids(session.objects))
        self._lock = threading.RLock()
        self._history: deque[_Undoable] = deque(maxlen=MOST_UNDONE)
        self._shown = [_Shown(edits=first) for _ in range(len(session))]
        self._is_closed = False
        self._seen = Timeline()
        self.revision = first + 1
        self._look(session.timeline)

    # Current state

    @property
    def version(self) -> str:
        """A string that identifies the video in caches."""
        return self._saved.fingerprint[:16]

    def describe(self) -> dict[str, Any]:
        """Returns the fields of the video, the objects and the revision, as JSON."""
        with self._lock:
            video = self.session.video
            height, width = video.size
            count = len(self.session)
            return {
                "name": video.name,
                "frames": count,
                "height": height,
                "width": width,
                "rate": video.fps or None,
                "version": self.version,
                "revision": self.revision,
                "event": self.log.last,
                "range": list(self._saved.frames or (0, count)),
                "undo": len(self._history),
                "objects": self._saved.objects.as_json,
            }

    def timeline(self) -> dict[str, Any]:
        """Returns the state of each frame, as JSON."""
        with self._lock:
            self._publish()
            timeline = self.session.timeline
            frames = [self._entry(t, timeline) for t in range(len(self._shown))]
            return {"revision": self.revision, "event": self.log.last, "frames": frames, "next": self.next_to_annotate()}

    def next_to_annotate(self) -> int | None:
        """Returns the frame to annotate next, or None if all frames are annotated."""
        return self.session.next_to_annotate()

    def picture(self, t: int) -> tuple[Picture | None, str]:
        """Returns the result for a frame (None if missing) and its revision. Raises IndexError if there is no such frame."""
        with self._lock:
            self._publish()
            shown = self._frame(t)
            return shown.picture, shown.revision

    def labels(self) -> list[tuple[int, str, str]]:
        """Returns the id, name and colour ("#rrggbb") of each object."""
        return [(found.id, found.name, found.colour) for found in self._saved.objects.known.values()]

    # Edits of frames

    def annotate(
        self, t: int, mask: Integer[np.ndarray, "H W"], unknown: Bool[np.ndarray, "H W"] | None, expected: str | None
    ) -> str:
        """Annotates a frame and saves the project.

        Args:
            t: the frame.
            mask: the id of each pixel in the frame.
            unknown: pixels whose ids are predicted by the model.
            expected: the revision of the frame that the edit is based on; None: the frame was not annotated.

        Returns:
            The new revision.

        Raises:
            Stale: the frame was edited in the meantime.
            IndexError: there is no such frame.
            ValueError: the mask has the wrong size, or contains an id that is not an object.
            DataError: the project cannot be saved.
        """
        with self._lock:
            self._require(t, expected)
            if unknown_ids := set(ids_of(mask)) - self._saved.objects.known.keys() - {0}:
                raise ValueError(f"the mask contains the id {min(unknown_ids)}, which is not the id of an object")
            self.session.annotate(t, mask, unknown)
            self._edited(_Undoable(True), [t])
            return self._shown[t].revision

    def unannotate(self, t: int, expected: str | None) -> str:
        """Removes the annotation of a frame and saves the project.

        Raises ValueError if the frame is not annotated. See `annotate` for other errors.
        """
        with self._lock:
            self._require(t, expected)
            self.session.unannotate(t)
            self._edited(_Undoable(True), [t])
            return self._shown[t].revision

    # Edits of objects. Each edit specifies a revision of the project, and raises Stale if that revision is outdated.

    def add_object(self, given: Mapping[str, Any], revision: int) -> PaintObject:
        """Adds an object. Raises ValueError for invalid fields."""
        with self._lock:
            self._require_revision(revision)
            table, k = self._saved.objects.added(given)
            self._edited(None, [], replace(self._saved, objects=table))
            return table.known[k]

    def change_object(self, k: int, given: Mapping[str, Any], revision: int) -> PaintObject:
        """Changes fields of an object. Raises KeyError for an unknown object, and ValueError for invalid values."""
        with self._lock:
            self._require_revision(revision)
            table = self._saved.objects.changed(k, given)
            self._edited(None, [], replace(self._saved, objects=table))
            return table.known[k]

    def remove_object(self, k: int, revision: int) -> None:
        """Removes an object from all frames. Raises KeyError for an unknown object."""
        with self._lock:
            self._require_revision(revision)
            table = self._saved.objects.without(k)
            self._rename(lambda: self.session.remove(k), k, replace(self._saved, objects=table))

    def merge_objects(self, into: int, other: int, revision: int) -> None:
        """Merges object `other` into object `into`.

        Raises KeyError for an unknown object, and ValueError if both objects are the same.
        """
        with self._lock:
            self._require_revision(revision)
            if into == other:
                raise ValueError(f"object {into} cannot be merged with itself")
            known = self._saved.objects.known
            if into not in known:
                raise KeyError(into)
            table = self._saved.objects.without(other)
            self._rename(lambda: self.session.merge(into, other), other, replace(self._saved, objects=table))

    def undo(self, revision: int) -> bool:
        """Undoes the last edit: an annotation, its removal, or the removal or merge of an object.

        Returns whether there was an edit to undo.
        """
        with self._lock:
            self._require_revision(revision)
            if not self._history:
                return False
            last = self._history.pop()
            if last.in_session:
                self.session.undo()
            table = self._saved.objects.restored(last.objects)
            self._edited(None, range(len(self._shown)), replace(self._saved, objects=table))
            return True

    def set_range(self, start: int, stop: int) -> None:
        """Saves the range of frames from the in point to the out point. Raises ValueError for an invalid range."""
        with self._lock:
            if not 0 <= start < stop <= len(self._shown):
                raise ValueError(f"the range is {start} to {stop}, expected 0 <= start < stop <= {len(self._shown)}")
            self._write(replace(self._saved, frames=(start, stop)))
            self.log.publish("project", self.describe())

    # Methods for the worker and for closing the project

    def computed(self) -> None:
        """Saves and publishes newly computed frames. Raises DataError if saving fails."""
        with self._lock:
            if not self._is_closed:
                self._save_session()
                self._publish()

    def close(self) -> None:
        """Disables saving, because another process may open the project after this call."""
        with self._lock:
            self._is_closed = True

    # Internal methods; call them only while holding the lock

    def _rename(self, edit: Callable[[], None], k: int, saved: Saved) -> None:
        """Removes object `k`. If the object has pixels, `edit` is called to edit the session."""
        gone = (self._saved.objects.known[k],)
        painted = k in self.session.objects
        if painted:
            edit()
        self._edited(_Undoable(painted, gone), range(len(self._shown)) if painted else [], saved)

    def _edited(self, undoable: _Undoable | None, frames: Any, saved: Saved | None = None) -> None:
        """Saves an edit and publishes it. `frames` are the frames whose masks the edit may have changed."""
        if undoable is not None:
            self._history.append(undoable)
        timeline = self.session.timeline
        for t in frames:
            shown = self._shown[t]
            if timeline.picture(t) is not shown.picture:
                shown.edits, shown.versions = shown.edits + 1, -1  # -1, because publishing increments `versions`
        self.revision += 1
        try:
            self._save_session()
            if saved is not None and saved != self._saved:
                self._write(saved)
        finally:  # publish even if saving failed: the change is in memory, and the next edit saves it
            self._saved = saved or self._saved
            self._publish()
            self.log.publish("project", self.describe())

    def _save_session(self) -> None:
        self._folder.require_own()
        self.session.save(self._folder.session)

    def _write(self, saved: Saved) -> None:
        self._folder.write(saved)
        self._saved = saved

    def _publish(self) -> None:
        timeline = self.session.timeline
        if changed := self._look(timeline):
            self.log.publish("frames", [self._entry(t, timeline) for t in changed])

    def _look(self, timeline: Timeline) -> list[int]:
        """Updates the states of the frames that have changed, and returns their indices."""
        changed, known, self._seen = [], self._seen, timeline
        has_its_anchors = timeline.stamps == known.stamps
        for t, shown in enumerate(self._shown):
            if has_its_anchors and timeline.predictions.get(t) is known.predictions.get(t):
                continue
            state, picture = timeline.state(t), timeline.picture(t)
            if picture is not shown.picture:
                shown.versions += 1
            elif state == shown.state:
                continue
            shown.state, shown.picture = state, picture
            changed.append(t)
        return changed

    def _entry(self, t: int, timeline: Timeline) -> dict[str, Any]:
        shown = self._shown[t]
        confidence = {k: round(c, 4) for k, c in confidence_of(timeline, t).items()}
        ids = [] if shown.picture is None else list(shown.picture.ids)
        return {"t": t, "state": shown.state, "revision": shown.revision, "ids": ids, "confidence": confidence}

    def _frame(self, t: int) -> _Shown:
        if not 0 <= t < len(self._shown):
            raise IndexError(f"frame {t} does not exist. The video has {len(self._shown)} frames, numbered from 0.")
        return self._shown[t]

    def _require(self, t: int, expected: str | None) -> None:
        shown = self._frame(t)
        is_annotated, edits = t in self.session.timeline.anchors, str(shown.edits)
        if is_annotated if expected is None else expected.split(".")[0] != edits:
            raise Stale(f"frame {t}", shown.revision)

    def _require_revision(self, revision: int) -> None:
        if revision != self.revision:
            raise Stale("the project", str(self.revision))
