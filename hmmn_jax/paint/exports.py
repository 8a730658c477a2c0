"""Creates the exports of a project one at a time in a separate thread, and stores them in the project folder."""

import queue
import threading
import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hmmn_jax.errors import HMMNError
from hmmn_jax.exports import KINDS, Label, export
from hmmn_jax.io.video import Video
from hmmn_jax.paint.project import Project
from hmmn_jax.session.results import FrameResult, frame_result
from hmmn_jax.session.timeline import Timeline

ARCHIVE = ".zip"  # file suffix of exports that consist of many files
_REPORT_SECONDS = 0.5  # minimum time between two progress reports, in seconds


@dataclass
class Export:
    """One export. `state` is "waiting", "running", "done" or "failed"; `bytes` is the size of the finished file."""

    name: str
    kind: str
    total: int
    state: str = "waiting"
    done: int = 0
    bytes: int = 0
    message: str = ""


class Exports:
    """The exports of one project. The server generates the file names. Names that a page sends are never used as paths."""

    def __init__(self, project: Project, video: Video, folder: Path):
        """Starts the thread that creates the exports.

        Args:
            project: the project whose masks are exported.
            video: the frames of the project's video.
            folder: the folder for exports; created on demand. Earlier exports in this folder are also listed.
        """
        self._project, self._video, self._folder = project, video, folder
        self._lock = threading.Lock()
        self._exports = {found.name: found for found in self._earlier()}
        self._is_closed = False
        self._waiting: queue.SimpleQueue[tuple[Export, int, Timeline] | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="exports", daemon=True).start()

    def listing(self) -> list[dict[str, Any]]:
        """All exports, newest first."""
        with self._lock:
            return [asdict(found) for found in reversed(self._exports.values())]

    def start(self, kind: str, start: int, stop: int) -> str:
        """Starts an export of the current masks, and returns its name. Raises ValueError for an invalid format or range."""
        if kind not in KINDS:
            raise ValueError(f"kind is {kind[:80]!r}, expected one of {', '.join(KINDS)}")
        count = len(self._project.session)
        if not 0 <= start < stop <= count:
            raise ValueError(f"the range is {start} to {stop}, expected 0 <= start < stop <= {count}")
        stem = f"{self._project.session.video.name}-{kind}-{time.strftime('%Y%m%d-%H%M%S')}"
        suffix = KINDS[kind].suffix or ARCHIVE
        with self._lock:
            names = (f"{stem}{f'-{i}' if i else ''}{suffix}" for i in range(len(self._exports) + 1))
            name = next(name for name in names if name not in self._exports)
            found = self._exports[name] = Export(name, kind, stop - start)
        self._waiting.put((found, start, self._project.session.timeline))
        self._publish()
        return name

    def find(self, name: str) -> Path:
        """The file of a finished export. Raises KeyError for an unknown or unfinished export."""
        with self._lock:
            found = self._exports[name]
        if found.state != "done":
            raise KeyError(name)
        return self._folder / found.name

    def close(self) -> None:
        """Cancels the running export, deletes its files, and stops the thread."""
        self._is_closed = True
        self._waiting.put(None)

    def _earlier(self) -> list[Export]:
        """The exports from earlier processes, oldest first."""
        found = []
        for path in self._folder.iterdir() if self._folder.is_dir() else ():
            kinds = [kind for kind in KINDS if f"-{kind}-" in path.name and path.suffix == (KINDS[kind].suffix or ARCHIVE)]
            if kinds and path.is_file() and not path.name.startswith("."):
                found.append((path.stat().st_mtime, Export(path.name, kinds[-1], 0, "done", 0, path.stat().st_size)))
        return [export for _, export in sorted(found, key=lambda pair: (pair[0], pair[1].name))]

    def _run(self) -> None:
        while (work := self._waiting.get()) is not None and not self._is_closed:
            found, start, timeline = work
            found.state = "running"
            try:
                found.message = " ".join(self._export(found, start, timeline))
                found.bytes = (self._folder / found.name).stat().st_size
                found.state = "done"
            except _Closed:
                return
            except HMMNError as error:
                found.state, found.message = "failed", str(error)
            except Exception as error:  # a failed export must not end the thread
                traceback.print_exc()
                found.state, found.message = "failed", f"{type(error).__name__}: {error}"
            self._publish()

    def _export(self, found: Export, start: int, timeline: Timeline) -> list[str]:
        reported = 0.0

        def find(t: int) -> FrameResult | None:
            return None if timeline.picture(t) is None else frame_result(timeline, t)

        def report(done: int, _: int) -> None:
            nonlocal reported
            if self._is_closed:
                raise _Closed
            found.done = done
            if (now := time.monotonic()) - reported > _REPORT_SECONDS:
                reported = now
                self._publish()

        labels = {}
        for k, name, colour in self._project.labels():
            red, green, blue = bytes.fromhex(colour[1:])
            labels[k] = Label(name, (red, green, blue))
        path, stop = self._folder / found.name, start + found.total
        return export(found.kind, path, self._video, find, start=start, stop=stop, labels=labels, report=report)

    def _publish(self) -> None:
        self._project.log.publish("exports", self.listing())


class _Closed(Exception):
    """Raised to cancel an export when the server shuts down."""
