"""YouTube-VOS: videos whose objects start in different frames, of which meta.json lists the labelled frames."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hmmn_jax.errors import DataError
from hmmn_jax.layouts.files import contents, reason
from hmmn_jax.layouts.frames import list_frames
from hmmn_jax.layouts.sequences import Sequence


@dataclass(frozen=True)
class YouTubeVideo(Sequence):
    """A video of YouTube-VOS.

    Attributes:
        objects: by id the names of the frames that meta.json lists for it, in order. Ids have gaps.
        problems: what meta.json or a mask names that is not there, one line each.
    """

    objects: dict[int, tuple[str, ...]]
    problems: tuple[str, ...] = ()

    @property
    def requested_frames(self) -> tuple[str, ...]:
        """The names of the frames that meta.json lists, in order: of those a submission has the masks, and of no others."""
        listed = {stem for stems in self.objects.values() for stem in stems}
        return tuple(name for name in self.frame_names if name in listed)


def read_youtube_vos(root: str | os.PathLike, split: str, all_frames: bool = False) -> tuple[list[YouTubeVideo], list[str]]:
    """Lists the videos of a split, 2018 or 2019, in the order of their names, and what is wrong with them, one line each.

    Reads `ROOT/SPLIT/meta.json`, `.../JPEGImages/VIDEO/*.jpg` and `.../Annotations/VIDEO/*.png`. Masks are those files that are
    named as frames are. A video without frames or without masks is left out; of what meta.json names, what is not there.

    Args:
        root: the folder that holds the folders of the splits.
        split: "train" or "valid".
        all_frames: take every frame, from `ROOT/SPLIT_all_frames/JPEGImages`; else those of the split's folder, every fifth.

    Raises DataError where folders are missing or meta.json cannot be read.
    """
    readers, problems = find_youtube_vos(root, split, all_frames)
    videos = []
    for read in readers.values():
        try:
            videos.append(read())
            problems.extend(videos[-1].problems)
        except DataError as error:
            problems.append(f"{error}; video left out")
    if not videos:
        home = Path(root) / split
        raise DataError(f"{home}: no video that has frames and masks, such as: {problems[0] if problems else 'none is listed'}")
    return videos, problems


def find_youtube_vos(
    root: str | os.PathLike, split: str, all_frames: bool | None
) -> tuple[dict[str, Callable[[], YouTubeVideo]], list[str]]:
    """As `read_youtube_vos`, but gives by name functions that read one video, so that one can fail without the others.

    `all_frames` None: every frame, if there is the folder that has them; else those of the split's folder.
    """
    home = Path(root) / split
    more = Path(root) / f"{split}_all_frames"
    if all_frames is None:
        all_frames = more.is_dir()
    images, masks = (more if all_frames else home) / "JPEGImages", home / "Annotations"
    for folder in (images, masks):
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder; {contents(folder)}; give the folder that holds {split}/JPEGImages")
    listed = _read_meta(home / "meta.json")
    surplus = sorted(entry.name for entry in images.iterdir() if entry.is_dir() and entry.name not in listed)
    problems = [f"{images / name}: not in meta.json; video left out" for name in surplus]
    return {name: partial(_read_video, images / name, masks / name, listed[name]) for name in sorted(listed)}, problems


def _read_meta(path: Path) -> dict[str, dict[int, tuple[str, ...]]]:
    """Gives by video and object id the names of its frames."""
    try:
        videos = json.loads(path.read_text(encoding="utf-8"))["videos"]
        return {
            str(video): {int(i): tuple(map(str, entry["frames"])) for i, entry in about["objects"].items()}
            for video, about in videos.items()
        }
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {reason(error)}; copy the meta.json of the split again") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        way_out = 'expected {"videos": {NAME: {"objects": {ID: {"frames": [...]}}}}}; copy it again'
        raise DataError(
            f"{path}: not a meta.json of YouTube-VOS ({type(error).__name__}: {reason(error)}); {way_out}"
        ) from error


def _read_video(images: Path, masks: Path, objects: dict[int, tuple[str, ...]]) -> YouTubeVideo:
    frames = list_frames(images)
    index = {frame.stem: i for i, frame in enumerate(frames)}
    files = sorted(path for path in masks.glob("*.png") if not path.name.startswith("."))
    found = {index[path.stem]: path for path in files if path.stem in index}
    if not found:
        raise DataError(f"{masks}: no PNG is named as a frame is; {contents(masks)}")
    problems = [f"{path}: a mask without a frame; mask left out" for path in files if path.stem not in index]
    for i, stems in objects.items():
        missing = [stem for stem in stems if stem not in index]
        problems += [f"{images}: meta.json names frame {stem} for object {i}, which is not there; ignored" for stem in missing]
    return YouTubeVideo(images.name, frames, dict(sorted(found.items())), objects, tuple(problems))
