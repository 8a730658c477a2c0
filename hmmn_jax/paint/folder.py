"""Reads and writes the folder of a project.

The folder contains the path of the video, the objects, the session, the exports, and a lock. The process that has the project
open holds the lock.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from hmmn_jax.datasets.listing import list_frames
from hmmn_jax.errors import DataError
from hmmn_jax.io.files import reason, write_file, writing_errors
from hmmn_jax.io.guard import Guard, hold_folder
from hmmn_jax.io.record import replace_own
from hmmn_jax.paint.objects import ObjectTable

FORMAT = 1
SUFFIX = ".hmmn"
PROJECT, SESSION, EXPORTS, LOCK = "project.json", "session", "exports", "lock"
_CHUNK = 1 << 20  # number of bytes read at each of three positions in a video file


@dataclass(frozen=True)
class Saved:
    """The content of `project.json`.

    Attributes:
        video: the path of a video file or a folder of frames.
        fingerprint: the result of `fingerprint` for this video.
        objects: the objects of the project.
        frames: the range of frames from the in point to the out point, as (start, stop); None: all frames.
    """

    video: Path
    fingerprint: str
    objects: ObjectTable = field(default_factory=ObjectTable)
    frames: tuple[int, int] | None = None


class ProjectFolder:
    """A project folder that this process has locked."""

    def __init__(self, path: Path, guard: Guard):
        """Creates an object for the project folder `path`, which is locked by `guard`."""
        self.path, self.require_own = path, guard.require
        self.session, self.exports = path / SESSION, path / EXPORTS
        self._file = path / PROJECT

    def read(self) -> Saved | None:
        """The content of `project.json`; None if the folder is new. Raises DataError for an invalid file."""
        if not self._file.is_file():
            return None
        try:
            found = json.loads(self._file.read_bytes().decode())
            if found["format"] != FORMAT:
                raise ValueError(f"format is {found['format']}, expected {FORMAT}")
            table = ObjectTable.from_json(found["objects"], found["used"])
            frames = found["frames"]
            if frames is not None:
                start, stop = map(int, frames)
                frames = start, stop
            return Saved(Path(str(found["video"])), str(found["fingerprint"]), table, frames)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            found = f"{type(error).__name__}: {reason(error)}"
            raise DataError(
                f"{self._file}: the file is not a project file, or is damaged ({found}). Choose another folder with --project."
            ) from error

    def write(self, saved: Saved) -> None:
        """Replaces `project.json`.

        Raises:
            DataError: the file cannot be written.
            ConfigError: another process has taken over the folder.
        """
        self.require_own()
        content = {
            "format": FORMAT,
            "video": str(saved.video),
            "fingerprint": saved.fingerprint,
            "objects": saved.objects.as_json,
            "used": sorted(saved.objects.used),
            "frames": saved.frames,
        }
        with replace_own(self._file) as temporary:
            write_file(temporary, json.dumps(content, indent=1) + "\n")


@contextlib.contextmanager
def open_folder(path: Path, takeover: bool = False) -> Iterator[ProjectFolder]:
    """Creates or opens the folder of a project and locks it for this process.

    If `takeover` is set, the lock is taken over even if its owner appears to be running.

    Raises:
        DataError: the folder contains files but no project, or is not writable.
        ConfigError: another process has the project open.
    """
    if path.exists() and not path.is_dir():
        raise DataError(f"{path} is a file, but a project must be a folder. Choose another folder with --project.")
    with writing_errors(path):
        path.mkdir(parents=True, exist_ok=True)
        others = [entry for entry in path.iterdir() if not entry.name.startswith(".") and entry.name != LOCK]
    if others and not (path / PROJECT).is_file():
        raise DataError(
            f"{path} contains files, such as {others[0].name}, but no project. Choose another folder with --project."
        )
    way_out = "Stop that process, or choose another folder with --project. If that process has already ended, pass --takeover"
    with hold_folder(path, path / LOCK, takeover, way_out) as guard:
        yield ProjectFolder(path, guard)


def fingerprint(video: Path) -> str:
    """Returns a hash of file sizes, frame names and some bytes of a video. Does not read the whole video."""
    digest = hashlib.sha256()
    if video.is_dir():
        paths = list_frames(video)
        for frame in paths:
            digest.update(f"{frame.name}\0{frame.stat().st_size}\0".encode("utf-8", "surrogateescape"))
        digest.update(paths[0].read_bytes())
        return digest.hexdigest()
    size = video.stat().st_size
    digest.update(f"{size} ".encode())
    with video.open("rb") as file:
        for start in (0, size // 2, max(size - _CHUNK, 0)):
            file.seek(start)
            digest.update(file.read(_CHUNK))
    return digest.hexdigest()
