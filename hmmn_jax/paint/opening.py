"""Opens a new or existing project for a video."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from hmmn_jax.errors import DataError
from hmmn_jax.inference import Segmenter
from hmmn_jax.io.files import check_name
from hmmn_jax.io.notes import note
from hmmn_jax.io.video import Video
from hmmn_jax.paint.events import EventLog
from hmmn_jax.paint.fitting import fitted_size
from hmmn_jax.paint.folder import PROJECT, SUFFIX, Saved, fingerprint, open_folder
from hmmn_jax.paint.project import Project
from hmmn_jax.session import Session
from hmmn_jax.session.session import as_video
from hmmn_jax.session.store import SESSION

SAMPLE = 50  # number of frames that are decoded to estimate the time for all frames
PATIENCE = 5.0  # a note is printed if decoding is expected to take longer than this many seconds


def default_folder(video: Path) -> Path:
    """Returns the default project folder for a video, in the working directory."""
    path = video.absolute()
    return Path(check_name((path.name if path.is_dir() else path.stem) + SUFFIX, video))


def count_frames(video: Video) -> int:
    """Returns the number of frames. Prints a note if decoding the video file takes more than a few seconds.

    Raises DataError if a frame cannot be read.
    """
    about, start = video.length_hint, time.monotonic()
    if about > SAMPLE:
        try:
            video[SAMPLE - 1]
        except IndexError:  # the estimated number of frames was too high
            return len(video)
        seconds = (time.monotonic() - start) * (about / SAMPLE - 1)
        if seconds > PATIENCE:
            note(f"{video.name}: about {about} frames are decoded before the page opens. Decoding takes about {seconds:.0f} s.")
    return len(video)


def first_number() -> int:
    """Returns the first number for revisions and events, larger than any number that an earlier run of the server used."""
    return time.time_ns() // 1_000_000


@contextlib.contextmanager
def open_project(
    path: Path,
    video: Path | None,
    make_segmenter: Callable[[Video], Segmenter],
    takeover: bool = False,
    size: int | None = None,
) -> Iterator[Project]:
    """Opens a project and locks it for this process.

    Args:
        path: the folder of the project.
        video: a video file or a folder of frames; None: the video of the existing project.
        make_segmenter: returns the segmenter for a video; called after the folder and the video have been checked.
        takeover: whether to take over the project from another process, even if that process appears to be running.
        size: shorter side of the network's input, in pixels; 0: the size of the frames; None: the size of the frames, but at
            most 480.

    Raises:
        DataError: a file cannot be read, the folder is not a project, or the project was created for another video.
        ConfigError: another process has the project open.
    """
    if video is None and not (path / PROJECT).is_file():
        raise DataError(f"{path} does not contain a project. To create a project, also pass VIDEO.")
    with open_folder(path, takeover) as folder:
        saved = folder.read()
        video = saved.video if video is None and saved is not None else video
        assert video is not None  # if no video was passed, its path was read from the project
        if not video.exists():
            raise DataError(f"{video} does not exist. If the video was moved, pass the new path as VIDEO.")
        found = fingerprint(video)
        if saved is not None and saved.fingerprint != found:
            raise DataError(
                f"{path}: the project was created for another video, {saved.video}. "
                "Pass that video, or choose another folder with --project."
            )
        new = Saved(video.absolute(), found) if saved is None else replace(saved, video=video.absolute())
        frames = as_video(video)
        count_frames(frames)
        segmenter = make_segmenter(frames)
        options: dict[str, Any] = {"size": fitted_size(size, frames), "weigh_by_reliability": True}
        if (folder.session / SESSION).is_file():
            session = Session.load(folder.session, segmenter, frames, **options)
        else:
            session = Session(segmenter, frames, **options)
        if saved != new:
            folder.write(new)
        first = first_number()
        project = Project(session, folder, new, EventLog(first), first)
        try:
            yield project
        finally:
            project.close()
