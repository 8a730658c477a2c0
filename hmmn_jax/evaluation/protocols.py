"""What each benchmark gives and asks for: from a config and a folder to clips."""

import functools
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ml_collections import ConfigDict

from hmmn_jax.datasets.sequences import Sequence, find_davis, find_unlisted, read_folder
from hmmn_jax.datasets.youtube_vos import find_youtube_vos
from hmmn_jax.errors import DataError
from hmmn_jax.evaluation.clips import Clip, find_masks_of_video, open_sequence, open_video
from hmmn_jax.io.files import check_name, contents, shortlist
from hmmn_jax.io.notes import Notes
from hmmn_jax.metrics.davis import Rule

# Suffixes of files that are taken for videos; one of another kind is, too, if there is a mask for it.
_VIDEO = re.compile(r"\.(3gp|apng|avi|flv|gif|m2ts|m4v|mkv|mov|mp4|mpe?g|mts|ogv|tiff?|ts|webm|webp|wmv)", re.IGNORECASE)


@dataclass
class Task:
    """What there is to segment.

    Attributes:
        clips: that can be opened.
        failures: by name what is wrong with the others.
        notes: what a user should know about the data.
        rule: how masks are scored.
        lists: folders in which sequences and their masks are looked for.
    """

    clips: list[Clip] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    notes: Notes = field(default_factory=Notes)
    rule: Rule = field(default_factory=Rule)
    lists: tuple[Path, ...] = ()


def read_task(config: ConfigDict, data: str | os.PathLike) -> Task:
    """Lists what the config's protocol finds in the folder. Raises DataError, ConfigError."""
    data, own = Path(data), config.protocol == "custom"
    task = Task(rule=Rule(config.protocol != "davis", config.single_object, config.mask_values))
    found = {"order": config.order, "notes": task.notes}
    names = tuple(config.sequences)
    task.lists = (data / "JPEGImages", data / config.annotations)
    if config.protocol == "davis":
        resolution = config.resolution or None
        readers = find_davis(data, config.year, config.split, resolution, config.annotations, names or None, **found)
    elif config.protocol == "youtube_vos":
        readers, problems = find_youtube_vos(data, config.split, None, **found)
        for problem in problems:
            task.notes.say(problem)
        every = data / f"{config.split}_all_frames"
        if not every.is_dir():
            task.notes.say(f"no {every}: only the frames in {config.split} are segmented")
        task.lists = tuple(folder / kind for folder in (data / config.split, every) for kind in ("JPEGImages", "Annotations"))
        readers = _choose(readers, names, data)
    else:
        readers = _choose(_find_own(data, config, task.notes), names, data)
    for name, read in readers.items():
        try:
            clip = read()
            if isinstance(clip, Sequence):
                for problem in getattr(clip, "problems", ()):
                    task.notes.say(problem)
                clip = open_sequence(clip, config.late_objects, task.notes, own, config.mask_values if own else "")
            if config.get("submission"):
                _require_text(clip)
            task.clips.append(clip)
        except (DataError, OSError) as error:
            task.failures[name] = str(error)
    return task


def read_own_video(frames: str | os.PathLike, mask: str | os.PathLike, config: ConfigDict) -> Task:
    """One folder of images or video file, with the mask of its first frame. Raises DataError."""
    task = Task(rule=Rule(True, config.single_object, config.mask_values))
    if Path(frames).is_file():
        clip = open_video(Path(frames), {0: Path(mask)}, False, task.notes, config.mask_values)
    else:
        sequence = read_folder(frames, mask, order=config.order, notes=task.notes)
        clip = open_sequence(sequence, False, task.notes, True, config.mask_values)
    task.clips.append(clip)
    return task


def _find_own(data: Path, config: ConfigDict, notes: Notes) -> dict[str, Callable[[], Sequence | Clip]]:
    """Folders of images as in DAVIS, without lists; and video files beside them, with masks by number of the frame."""
    home, annotations = data / "JPEGImages", data / config.annotations
    files = sorted(path for path in home.glob("*") if not path.is_dir()) if home.is_dir() else []
    videos = [path for path in files if not path.name.startswith(".") and _is_video(path, annotations)]
    for path in files:
        if path not in videos:
            kind = "hidden files" if path.name.startswith(".") else "files that are no videos"
            notes.add("files left out", kind, str(path))
    folders = [path for path in home.glob("*") if path.is_dir() and not path.name.startswith((".", "@"))]
    readers: dict[str, Callable] = {}
    if folders or not videos:
        readers |= find_unlisted(data, config.resolution or None, config.annotations, order=config.order, notes=notes)
    for video in videos:
        name = check_name(video.stem, video)
        if name in readers:
            readers[name] = functools.partial(_refuse, f"{video}: another video is called {name}, too; rename one")
        else:
            readers[name] = functools.partial(_open_own_video, video, annotations, config, notes)
    if annotations.is_dir() and not config.resolution:
        for path in sorted(annotations.iterdir()):
            if not path.name.startswith(".") and (path.stem if path.is_file() else path.name) not in readers:
                notes.add("masks left out", f"{'folders' if path.is_dir() else 'files'} of no video", str(path))
    return readers


def _refuse(message: str) -> Clip:
    raise DataError(message)


def _is_video(path: Path, annotations: Path) -> bool:
    return bool(_VIDEO.fullmatch(path.suffix)) or (annotations / f"{path.stem}.png").is_file()


def _open_own_video(video: Path, annotations: Path, config: ConfigDict, notes: Notes) -> Clip:
    masks = find_masks_of_video(annotations, video.stem, notes)
    return open_video(video, masks, config.late_objects, notes, config.mask_values)


def _require_text(clip: Clip) -> None:
    """Raises DataError for names that an archive cannot hold."""
    for name in (clip.name, *(clip.frame_names or ())):
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise DataError(f"{clip.name}/{name}: not a name in UTF-8, which an archive cannot hold; rename it") from error


def _choose(readers: dict[str, Callable], names: tuple[str, ...], data: Path) -> dict[str, Callable]:
    if missing := [name for name in names if name not in readers]:
        raise DataError(f"{data}: no sequence {missing[0]!r}; it has {shortlist(list(readers)) or contents(data)}")
    return {name: read for name, read in readers.items() if name in names or not names}
