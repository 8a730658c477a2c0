"""Base class of benchmarks with the layout of YouTube-VOS: a folder of frames and a folder of masks for each video."""

import abc
import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Integer

from hmmn_jax.datasets.folders import VideoFiles, find_unlisted
from hmmn_jax.errors import DataError
from hmmn_jax.evaluation.clips import Clip, open_sequence
from hmmn_jax.evaluation.protocols.base import Opener, Protocol
from hmmn_jax.io.images import settle_ids
from hmmn_jax.io.notes import Notes


class VideoFolders(Protocol):
    """Evaluates videos with frames `JPEGImages/VIDEO/FRAME.jpg` and masks `Annotations/VIDEO/FRAME.png`.

    By default, the first mask of each video is the only given mask.

    Attributes:
        value_255: meaning of 255 in annotations; see `Clip`.
        annotated_only: whether to write only the masks of annotated frames.
    """

    value_255: ClassVar[str] = "void"
    annotated_only: ClassVar[bool] = False

    def images(self, root: Path) -> str:
        """Returns the name of the folder in `root` that contains the frames."""
        return "JPEGImages"

    @abc.abstractmethod
    def listed(self, root: Path) -> dict[str, Any] | None:
        """Returns the metadata of each video (see `Clip.about`) by name, or None if the benchmark has no list of videos.

        Raises DataError for an invalid list.
        """

    def given(self, clip: Clip, notes: Notes) -> Clip:
        """Returns the clip with its given masks: the first mask or, if `late_objects` is set, all masks."""
        return clip

    def find(self, root: Path, notes: Notes) -> dict[str, Opener]:
        """Finds the videos in the list of the benchmark (see `listed`), or all video folders if there is no list."""
        listed, settings = self.listed(root), self.settings
        found = find_unlisted(
            root,
            ".",
            settings.annotations,
            names=listed,
            order=settings.order,
            notes=notes,
            images=self.images(root),
        )
        if listed is not None:
            for path in sorted((root / self.images(root)).iterdir()):
                if path.is_dir() and path.name not in listed and not path.name.startswith("."):
                    notes.add("videos that are not in the list of the benchmark are skipped", "videos", str(path))
        about = listed or {}
        return {name: partial(self._open, root, name, read, about.get(name), notes) for name, read in found.items()}

    def inputs(self, root: Path) -> tuple[Path, ...]:
        """Returns the folder of frames (see `images`) and the folder of annotations."""
        return root / self.images(root), root / self.settings.annotations

    def shown(self, ids: Integer[np.ndarray, "h w"]) -> Integer[np.ndarray, "h w"]:
        """Returns the ids, with void pixels set to 0 (background)."""
        return settle_ids(ids, False) if self.value_255 == "void" else ids

    def _open(self, root: Path, name: str, read: Callable[[], VideoFiles], about: Any, notes: Notes) -> Clip:
        files = read()
        annotations = root / self.settings.annotations / name
        if surplus := {path.stem for path in annotations.glob("*.png")} - {path.stem for path in files.masks.values()}:
            frames = root / self.images(root) / name
            raise DataError(f"{annotations}/{min(surplus)}.png: this mask has no frame in {frames}. Copy the video again.")
        clip = open_sequence(files, self.settings.late_objects, notes)
        requested = frozenset(files.frame_names[t] for t in files.masks) if self.annotated_only else clip.requested
        clip = dataclasses.replace(clip, requested=requested, value_255=self.value_255, about=about)
        return self.given(clip, notes)
