"""The protocol of MOSE v2, with an adaptive F and scores for disappearance and reappearance.

Only the first mask of each validation video is public.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer
from PIL import Image

from hmmn_jax.datasets.meta import read_meta
from hmmn_jax.errors import DataError
from hmmn_jax.evaluation.clips import Clip
from hmmn_jax.evaluation.mask_files import OnePng
from hmmn_jax.evaluation.plans import BenchmarkPlan, Plan, require_annotations
from hmmn_jax.evaluation.protocols.base import register
from hmmn_jax.evaluation.protocols.video_folders import VideoFolders
from hmmn_jax.io.notes import Notes
from hmmn_jax.io.pixels import reading_errors
from hmmn_jax.metrics import mose2
from hmmn_jax.metrics.davis import ScoredFrame, SequenceScores, scored_frames

META = "meta.json"
_MODES = ("P", "L", "I;16", "I")  # Pillow modes of PNGs that contain ids


@dataclass(frozen=True)
class Mose2Plan(BenchmarkPlan):
    """Scores all frames except the first and the last, for the objects `ids`. 255 is a normal id."""

    ids: tuple[int, ...]

    def read_prediction(self, folder: Path, index: int) -> Integer[np.ndarray, "h w"]:
        """Reads ids unchanged. Raises DataError for colour and one-bit PNGs, because the server would change their ids."""
        (path,) = self.files(folder, index)
        with reading_errors(path), Image.open(path) as image:
            if image.mode not in _MODES:
                found = f"the PNG has the mode {image.mode}, whose values the server would change"
                raise DataError(f"{path}: {found}. Write an indexed PNG or an 8-bit grey PNG.")
        return super().read_prediction(folder, index)

    def score(self, frames: Iterable[ScoredFrame]) -> mose2.Mose2Scores:
        """Computes the same scores as the server."""
        return mose2.score_frames(frames, self.ids, self.clip.name)

    def score_folder(self, folder: Path) -> SequenceScores:
        """Scores masks on disk. Raises DataError for invalid masks, or if the server would silently score the wrong frames."""
        scores = super().score_folder(folder)
        served = mose2.server_frames(OnePng().frames(folder, self.clip.name), len(self.clip), self.clip.name)
        if shifted := [(a, b) for a, b in zip(scores.frame_names, served, strict=True) if a != b]:
            meant, found = shifted[0]
            way_out = "Write exactly one mask for every frame, including the first."
            raise DataError(
                f"{folder / self.clip.name}: the server numbers the masks by their order. "
                f"The server would use {found}.png as {meant}.png. {way_out}"
            )
        return scores


@register("mose2")
class Mose2(VideoFolders):
    """Evaluates the folders in `JPEGImages`, each of which is a video.

    The objects are the ids in meta.json or, without meta.json, the ids in the first mask.
    """

    value_255 = "id"
    figures = mose2.FIGURES

    def listed(self, root: Path) -> dict[str, Any] | None:
        """Returns the entries in meta.json by video, or None if the file does not exist."""
        path = root / META
        if not path.is_file():
            return None
        videos = read_meta(path)
        try:
            return {video: _Entry.read(about) for video, about in videos["videos"].items()}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            expected = 'expected {"videos": {NAME: {"length": N, "objects": [ID, ...]}}}'
            raise DataError(
                f"{path}: the file is not a meta.json of MOSE ({type(error).__name__}: {error}), {expected}"
            ) from error

    def plan(self, clip: Clip, notes: Notes) -> Plan:
        """Returns a plan that scores all frames except the first and the last. Raises DataError if a frame is not annotated."""
        require_annotations(clip)
        scored = tuple(scored_frames(len(clip), clip.name))
        if clip.about is None:
            return Mose2Plan(clip, scored, tuple(int(i) for i in np.unique(clip.read_annotation(0)) if i))
        if clip.about.length != len(clip):
            raise DataError(
                f"{clip.name}: {META} lists {clip.about.length} frames, but the folders contain {len(clip)} frames. "
                "Copy the file and the folders again."
            )
        return Mose2Plan(clip, scored, clip.about.objects)

    def refuse_submission(self, clips: Sequence[Clip]) -> str:
        """Returns an error message if there is only one video, and "" otherwise.

        If an archive contains only one folder, the server treats this folder as the parent of all videos.
        """
        return "the server scores an archive of a single video as 0. Segment all videos." if len(clips) == 1 else ""


@dataclass(frozen=True)
class _Entry:
    """The entry of a video in meta.json."""

    length: int
    objects: tuple[int, ...]

    @classmethod
    def read(cls, about: Any) -> "_Entry":
        """Reads an entry, whose ids are in a list or are the keys of a dict.

        Raises ValueError, TypeError or KeyError for an invalid entry.
        """
        objects = tuple(int(i) for i in about["objects"])
        if not objects or min(objects) < 1 or len(set(objects)) < len(objects):
            raise ValueError(f"the ids are {objects}, expected unique ids of at least 1")
        return cls(int(about["length"]), objects)
