"""The worker: a thread that runs propagation jobs one at a time. A job continues even if the page that started it is closed."""

import itertools
import queue
import threading
import time
import traceback
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from hmmn_jax.errors import HMMNError
from hmmn_jax.paint.project import Project
from hmmn_jax.session.timeline import Stamp

IDLE = {"state": "idle"}
_RATE_FRAMES = 10  # number of recent frames from which the remaining time is estimated


class Busy(Exception):
    """Raised if a job is already running."""


@dataclass
class Job:
    """A call to `propagate` that a page requested.

    Attributes:
        state: "compiling", "running", "stopped", "done" or "failed". If the model has to be compiled, the state is "compiling"
            until the first frame has been computed.
        done: the number of frames computed so far.
        left: the number of frames still to compute.
    """

    id: int
    start: int
    stop: int
    direction: str
    left: int
    state: str = "running"
    done: int = 0
    message: str = ""
    is_stopping: bool = False
    times: deque[float] = field(default_factory=lambda: deque(maxlen=_RATE_FRAMES + 1))
    stamps: list[Stamp] = field(default_factory=list)  # the anchors (annotated frames) for which `left` was computed

    def as_json(self) -> dict[str, Any]:
        """The job as a JSON-compatible dict, as sent to the pages."""
        rate = None
        if len(self.times) > 1 and self.times[-1] > self.times[0]:
            rate = (len(self.times) - 1) / (self.times[-1] - self.times[0])
        is_over = self.state in ("stopped", "done", "failed")
        return {
            "id": self.id,
            "state": self.state,
            "direction": self.direction,
            "start": self.start,
            "stop": self.stop,
            "done": self.done,
            "total": self.done + self.left,
            "seconds_left": 0 if is_over else None if rate is None else round(self.left / rate, 1),
            "frames_per_second": None if rate is None else round(rate, 3),
            "message": self.message,
        }


class Worker:
    """Runs jobs in one thread. No other thread computes on the device."""

    def __init__(self, project: Project):
        """Starts the thread, which then waits for jobs."""
        self._project = project
        self._lock = threading.Lock()
        self._job: Job | None = None
        self._numbers = itertools.count(1)
        self._compiled: set[int] = set()  # object counts for which this process has already compiled the model
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)
        self._thread.start()

    @property
    def job(self) -> dict[str, Any]:
        """The current or last job, as JSON."""
        job = self._job
        return IDLE if job is None else job.as_json()

    def start(self, start: int, stop: int, direction: str) -> dict[str, Any]:
        """Starts a job.

        Args:
            start: the first frame.
            stop: the frame after the last frame.
            direction: "forward", "backward" or "both".

        Raises:
            Busy: a job is already running.
            ValueError: no frame is annotated, or the range or direction is invalid.
        """
        with self._lock:
            if self._job is not None and self._job.state in ("compiling", "running"):
                raise Busy("a job is running. Stop the job first.")
            left = self._project.session.frames_to_compute(start, stop, direction)
            if not self._project.session.annotated:
                raise ValueError("no frame is annotated. Paint the objects of one frame first.")
            self._job = Job(next(self._numbers), start, stop, direction, left)
            self._job.stamps = self._project.session.timeline.stamps
            if self._is_new():
                self._job.state = "compiling"
            self._publish(self._job)
            self._jobs.put(self._job)
            return self._job.as_json()

    def stop(self) -> bool:
        """Stops the running job after its current frame. Returns whether a job was running."""
        with self._lock:
            job = self._job
            if job is None or job.state not in ("compiling", "running"):
                return False
            job.is_stopping = True
            self._project.session.stop()
            return True

    def close(self, seconds: float) -> bool:
        """Stops the job and the thread. Returns whether the thread ended within `seconds`.

        The thread ends only after the current frame. This frame can take longer than `seconds`, for example during compilation.
        """
        self.stop()
        self._jobs.put(None)
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                self._propagate(job)
                job.state = "stopped" if job.is_stopping else "done"
            except HMMNError as error:
                job.state, job.message = "failed", str(error)
            except Exception as error:  # a failed job must not end the server
                traceback.print_exc()
                job.state, job.message = "failed", f"{type(error).__name__}: {error}"
            job.left = 0 if job.state == "done" else job.left
            self._publish(job)

    def _propagate(self, job: Job) -> None:
        session = self._project.session

        def on_frame(t: int) -> None:
            if job.state == "compiling":
                self._compiled.add(self._objects())
                job.state = "running"
            job.times.append(time.monotonic())
            job.done += 1
            job.left = max(job.left - 1, 0)
            if job.stamps != (stamps := session.timeline.stamps):
                job.stamps, job.left = stamps, session.frames_to_compute(job.start, job.stop, job.direction)
            self._project.computed()
            self._publish(job)
            if job.is_stopping:  # the stop was requested before `propagate` started
                session.stop()

        for _ in session.propagate(job.start, job.stop, job.direction, on_frame=on_frame):
            pass

    def _objects(self) -> int:
        return max((len(picture.ids) for picture in self._project.session.timeline.anchors.values()), default=0)

    def _is_new(self) -> bool:
        """Whether computing the first frame includes compilation."""
        return self._objects() not in self._compiled

    def _publish(self, job: Job) -> None:
        self._project.log.publish("job", job.as_json())
