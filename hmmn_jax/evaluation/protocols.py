"""What each benchmark gives and asks for: from a config and a folder to clips."""

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ml_collections import ConfigDict

from hmmn_jax.errors import ConfigError, DataError
from hmmn_jax.evaluation.clips import Clip, open_sequence, open_video
from hmmn_jax.layouts import Sequence, VideoFile, find_davis, find_unlisted, find_youtube_vos, read_folder
from hmmn_jax.layouts.files import contents, shortlist


@dataclass
class Task:
    """What there is to segment.

    clips: that can be opened.
    sequences: those of them that are folders of images.
    failures: by name what is wrong with the others.
    notes: what a user should know about the data.
    """

    clips: list[Clip] = field(default_factory=list)
    sequences: list[Sequence] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def sources(self) -> list[Sequence | VideoFile]:
        """What the clips are read from."""
        return [*self.sequences, *(clip.frames for clip in self.clips if isinstance(clip.frames, VideoFile))]


def read_task(config: ConfigDict, data: str | os.PathLike) -> Task:
    """Lists what the config's protocol finds in the folder. Raises DataError, ConfigError."""
    task, data = Task(), Path(data)
    if config.protocol == "davis":
        names = tuple(config.sequences) or None
        readers = find_davis(data, config.year, config.split, config.resolution or None, config.annotations, names)
    elif config.protocol == "youtube_vos":
        readers, task.notes = find_youtube_vos(data, config.split, None)
        if not (data / f"{config.split}_all_frames").is_dir():
            task.notes.append(f"no {data / config.split}_all_frames: only the frames in {config.split} are segmented")
        readers = _choose(readers, config.sequences, data)
    elif config.protocol == "custom":
        readers = _choose(_find_own(data, config), config.sequences, data)
    else:
        raise ConfigError(f"protocol is {config.protocol!r}, expected davis, youtube_vos or custom")
    for name, read in readers.items():
        try:
            found = read()
            if isinstance(found, Sequence):
                task.sequences.append(found)
                task.notes.extend(getattr(found, "problems", ()))
                found = open_sequence(found, config.late_objects)
            task.clips.append(found)
        except DataError as error:
            task.failures[name] = str(error)
    return task


def read_own_video(frames: str | os.PathLike, mask: str | os.PathLike) -> Task:
    """One folder of images or video file, with the mask of its first frame. Raises DataError."""
    if Path(frames).is_file():
        return Task([open_video(Path(frames), Path(mask))])
    sequence = read_folder(frames, mask)
    return Task([open_sequence(sequence)], [sequence])


def _find_own(data: Path, config: ConfigDict) -> dict[str, Callable[[], Sequence | Clip]]:
    """Folders of images as in DAVIS, without lists; and video files beside them, with one mask each."""
    videos = sorted(path for path in (data / "JPEGImages").glob("*") if path.is_file() and not path.name.startswith("."))
    folders = any(path.is_dir() for path in (data / "JPEGImages").glob("*"))
    readers = find_unlisted(data, config.resolution or None, config.annotations) if folders or not videos else {}
    for video in videos:
        if video.stem in readers:
            raise DataError(f"{video}: another video is called {video.stem}, too; rename one")
        readers[video.stem] = functools.partial(open_video, video, data / config.annotations / f"{video.stem}.png")
    return readers


def _choose(readers: dict[str, Callable], names: tuple[str, ...], data: Path) -> dict[str, Callable]:
    if missing := [name for name in names if name not in readers]:
        raise DataError(f"{data}: no sequence {missing[0]!r}; it has {shortlist(list(readers)) or contents(data)}")
    return {name: read for name, read in readers.items() if name in names or not names}
