"""Evaluation on your own videos: folders of images or video files, with masks of some frames."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from jaxtyping import Integer

from hmmn_jax.datasets.folders import VideoFiles, find_unlisted, read_folder, read_folder_with_masks
from hmmn_jax.errors import DataError
from hmmn_jax.evaluation.clips import Clip, find_masks_of_video, find_numbered_masks, open_film, open_sequence
from hmmn_jax.evaluation.plans import OWN_RULE, Plan, plan_annotated
from hmmn_jax.evaluation.protocols.base import Opener, Protocol, Task, register
from hmmn_jax.io.files import check_name
from hmmn_jax.io.images import settle_ids
from hmmn_jax.io.notes import Notes
from hmmn_jax.metrics.davis import scored_ids

# Suffixes of video files. A file with another suffix is treated as a video if a mask with the same name exists.
_VIDEO = re.compile(r"\.(3gp|apng|avi|flv|gif|m2ts|m4v|mkv|mov|mp4|mpe?g|mts|ogv|tiff?|ts|webm|webp|wmv)", re.IGNORECASE)


@register("custom")
class Custom(Protocol):
    """Evaluates the image folders and video files in `JPEGImages`.

    The value 255 is an object if a video has no other ids. Otherwise, the value 255 means void.
    """

    rule = OWN_RULE

    def find(self, root: Path, notes: Notes) -> dict[str, Opener]:
        """Finds the image folders and video files in `JPEGImages`. Does not use a list of sequences.

        The masks of video files are named by frame number.
        """
        settings = self.settings
        home, annotations = self.inputs(root)
        files = sorted(path for path in home.glob("*") if not path.is_dir()) if home.is_dir() else []
        videos = [path for path in files if not path.name.startswith(".") and _is_video(path, annotations)]
        for path in files:
            if path not in videos:
                kind = "hidden files" if path.name.startswith(".") else "files that are not videos"
                notes.add("some files are skipped", kind, str(path))
        folders = [path for path in home.glob("*") if path.is_dir() and not path.name.startswith((".", "@"))]
        openers: dict[str, Opener] = {}
        if folders or not videos:
            how = {"order": settings.order, "notes": notes}
            found = find_unlisted(root, settings.resolution or None, settings.annotations, **how)
            openers |= {name: partial(self._open_folder, read, notes) for name, read in found.items()}
        for video in videos:
            name = check_name(video.stem, video)
            if name in openers:
                openers[name] = partial(_refuse, f"{video}: another video also has the name {name}. Rename one of the videos.")
            else:
                openers[name] = partial(self._open_film, video, annotations, notes)
        if annotations.is_dir() and not settings.resolution:
            for path in sorted(annotations.iterdir()):
                if not path.name.startswith(".") and (path.stem if path.is_file() else path.name) not in openers:
                    notes.add("some masks are skipped", f"{'folders' if path.is_dir() else 'files'} without a video", str(path))
        return openers

    def inputs(self, root: Path) -> tuple[Path, ...]:
        """Returns the folders of frames and annotations."""
        return root / "JPEGImages", root / self.settings.annotations

    def read_one(self, frames: Path, mask: Path) -> Task:
        """Opens a folder of images or a video file, with the mask of the first frame or a folder of masks.

        Masks in a folder are propagated in both directions, unless the settings specify a direction. Raises DataError for files
        that cannot be used.
        """
        task = Task(self)
        several = mask.is_dir()
        how = {"mask_values": self.settings.mask_values, "direction": self._direction or ("both" if several else "")}
        if frames.is_file():
            masks = find_numbered_masks(mask, task.notes) if several else {0: mask}
            clip = open_film(frames, masks, notes=task.notes, **how)
        else:
            read = read_folder_with_masks if several else read_folder
            sequence = read(frames, mask, order=self.settings.order, notes=task.notes)
            clip = open_sequence(sequence, notes=task.notes, hand_made=True, **how)
        task.clips.append(clip)
        return task

    def plan(self, clip: Clip, notes: Notes) -> Plan:
        """Returns a plan that scores each object on the annotated frames after its first mask.

        Raises DataError if a direction is set, because all masks are then inputs of the segmentation.
        """
        if clip.direction:
            raise DataError(
                f"{clip.name}: all masks are inputs because config.direction is {clip.direction}, so the video cannot be scored"
            )
        return plan_annotated(clip, self.settings.single_object, self.settings.mask_values, notes)

    def shown_truth(self, clip: Clip, index: int, height: int, width: int) -> Integer[np.ndarray, "h w"]:
        """Reads an annotation for display in pictures. The value 255 is an object if the annotations contain no other id."""
        ids = clip.read_truth(index, height, width)
        return settle_ids(ids, True) if clip.binary else self.shown(ids)

    def shown(self, ids: Integer[np.ndarray, "h w"]) -> Integer[np.ndarray, "h w"]:
        """Returns the ids, with void pixels set to 0 (background)."""
        return scored_ids(ids, self.settings.single_object)

    def _open_folder(self, read: Callable[[], VideoFiles], notes: Notes) -> Clip:
        return open_sequence(read(), hand_made=True, **self._how(notes))

    def _open_film(self, video: Path, annotations: Path, notes: Notes) -> Clip:
        masks = find_masks_of_video(annotations, video.stem, notes)
        return open_film(video, masks, **self._how(notes))

    def _how(self, notes: Notes) -> dict[str, Any]:
        names = ("late_objects", "mask_values")
        return {"notes": notes, "direction": self._direction} | {name: self.settings[name] for name in names}

    @property
    def _direction(self) -> str:
        """The direction of propagation; "" if the setting is missing, for example in the validation during training."""
        return self.settings.get("direction", "")


def _refuse(message: str) -> NoReturn:
    raise DataError(message)


def _is_video(path: Path, annotations: Path) -> bool:
    return bool(_VIDEO.fullmatch(path.suffix)) or (annotations / f"{path.stem}.png").is_file()
