"""Finds the videos of YouTube-VOS. Objects may first appear in different frames. meta.json lists the labelled frames."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from hmmn_jax.datasets.folders import VideoFiles, match_masks
from hmmn_jax.datasets.listing import list_frames
from hmmn_jax.datasets.meta import read_meta
from hmmn_jax.errors import DataError
from hmmn_jax.io.files import check_name, contents, reason, same_name, user_path
from hmmn_jax.io.notes import Notes


@dataclass(frozen=True)
class YouTubeVideo(VideoFiles):
    """A video of YouTube-VOS.

    Attributes:
        objects: for each id, the names of the frames that meta.json lists, in order. Ids need not be consecutive.
        problems: a message for each listed frame that does not exist, and for each mask without a frame.
    """

    objects: dict[int, tuple[str, ...]]
    problems: tuple[str, ...] = ()

    @property
    def requested_frames(self) -> tuple[str, ...]:
        """The names of the frames that meta.json lists, in order. A submission contains masks for exactly these frames."""
        listed = {same_name(stem) for stems in self.objects.values() for stem in stems}
        return tuple(name for name in self.frame_names if same_name(name) in listed)


def read_youtube_vos(
    root: str | os.PathLike, split: str, all_frames: bool = False, *, order: str = "", notes: Notes | None = None
) -> tuple[list[YouTubeVideo], list[str]]:
    """Returns the videos of a split of YouTube-VOS 2018 or 2019, sorted by name, and a message for each problem.

    Reads `ROOT/SPLIT/meta.json`, `.../JPEGImages/VIDEO/*.jpg` and `.../Annotations/VIDEO/*.png`. Each mask is
    named after its frame. Skips videos without frames or masks, and listed frames that do not exist.

    Args:
        root: the folder that contains the split folders.
        split: "train" or "valid".
        all_frames: whether to use all frames, from `ROOT/SPLIT_all_frames/JPEGImages`. If False, only every fifth frame is
            used, from the folder of the split.
        order: the order of the frame names; see `list_frames`.
        notes: receives the skipped files with the reasons; see `list_frames`.

    Raises:
        ConfigError: `order` is unknown.
        DataError: folders are missing, or meta.json cannot be read or has invalid entries.
    """
    readers, problems = find_youtube_vos(root, split, all_frames, order=order, notes=notes)
    videos = []
    for read in readers.values():
        try:
            videos.append(read())
            problems.extend(videos[-1].problems)
        except DataError as error:
            problems.append(f"{error}; the video is skipped")
    if not videos:
        home = user_path(root) / split
        first = problems[0] if problems else "no video is listed"
        raise DataError(f"{home}: no video has both frames and masks. The first problem is: {first}")
    return videos, problems


def find_youtube_vos(
    root: str | os.PathLike, split: str, all_frames: bool | None, *, order: str = "", notes: Notes | None = None
) -> tuple[dict[str, Callable[[], YouTubeVideo]], list[str]]:
    """Returns a dict that maps the name of each video to a function that reads the video, and a message for each problem.

    An error in one video does not affect the other videos. If `all_frames` is None, the function uses `ROOT/SPLIT_all_frames`
    if this folder exists, and otherwise the frames in the folder of the split. For the arguments, see `read_youtube_vos`.
    """
    root = user_path(root)
    home, more = root / split, root / f"{split}_all_frames"
    if all_frames is None:
        all_frames = more.is_dir()
    images, masks = (more if all_frames else home) / "JPEGImages", home / "Annotations"
    for folder in (images, masks):
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder. {contents(folder)}. Pass the folder that contains {split}/JPEGImages")
    listed = _read_meta(home / "meta.json")
    surplus = sorted(entry.name for entry in images.iterdir() if entry.is_dir() and entry.name not in listed)
    problems = [f"{images / name}: the video is not in meta.json; the video is skipped" for name in surplus]
    readers: dict[str, Callable[[], YouTubeVideo]] = {
        name: partial(_read_video, images / name, masks / name, listed[name], order, notes) for name in sorted(listed)
    }
    return readers, problems


def _read_meta(path: Path) -> dict[str, dict[int, tuple[str, ...]]]:
    """Returns the names of the listed frames, by video and object id."""
    try:
        videos = read_meta(path)["videos"]
        return {check_name(video, path): _read_objects(about["objects"], path) for video, about in videos.items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        way_out = 'The content must be {"videos": {NAME: {"objects": {ID: {"frames": [...]}}}}}. Copy the file again'
        raise DataError(
            f"{path} is not a meta.json file of YouTube-VOS ({type(error).__name__}: {reason(error)}). {way_out}"
        ) from error


def read_categories(path: Path) -> dict[str, dict[int, str]]:
    """Reads the categories of objects, by video and id, from a meta.json file that `find_youtube_vos` accepts.

    Objects without a category are omitted.
    """
    return {
        video: {int(i): entry["category"] for i, entry in about["objects"].items() if isinstance(entry.get("category"), str)}
        for video, about in read_meta(path)["videos"].items()
    }


def _read_objects(objects: dict[str, Any], path: Path) -> dict[int, tuple[str, ...]]:
    """Returns the frame names by object id. Raises ValueError for an invalid entry, and DataError for an invalid name."""
    read: dict[int, tuple[str, ...]] = {}
    for text, about in objects.items():
        if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= 255):
            raise ValueError(f"the id is {text[:80]!r}, expected a number from 1 to 255")
        if int(text) in read:
            raise ValueError(f"the id {int(text)} occurs twice")
        frames = about["frames"]
        if not isinstance(frames, list) or not all(isinstance(frame, str) for frame in frames):
            raise ValueError(f"the frames of object {text} are not a list of names")
        read[int(text)] = tuple(check_name(frame, path) for frame in frames)
    return read


def _read_video(
    images: Path, masks: Path, objects: dict[int, tuple[str, ...]], order: str, notes: Notes | None
) -> YouTubeVideo:
    frames = list_frames(images, order=order, notes=notes)
    if not os.path.isdir(masks):
        raise DataError(f"{masks}: the folder with the masks of this video does not exist. {contents(masks)}")
    found, surplus = match_masks(masks, frames, notes)
    there = {same_name(frame.stem) for frame in frames}
    problems = [f"{path}: the mask has no frame; the mask is skipped" for path in surplus]
    for i, stems in objects.items():
        missing = [stem for stem in stems if same_name(stem) not in there]
        named = f"{images}: meta.json lists the frame"
        problems += [f"{named} {stem} for object {i}, but the file does not exist; this frame is ignored" for stem in missing]
    return YouTubeVideo(images.name, frames, found, objects, tuple(problems))
