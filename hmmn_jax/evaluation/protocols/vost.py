"""The VOST benchmark, whose objects change shape. Videos have 10 frames per second. J is computed at 5 frames per second."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hmmn_jax.datasets.davis import read_list
from hmmn_jax.errors import DataError
from hmmn_jax.evaluation.clips import Clip
from hmmn_jax.evaluation.plans import BenchmarkPlan, Plan, inner_annotations
from hmmn_jax.evaluation.protocols.base import register
from hmmn_jax.evaluation.protocols.video_folders import VideoFolders
from hmmn_jax.io.notes import Notes
from hmmn_jax.metrics import vost
from hmmn_jax.metrics.davis import ScoredFrame, SequenceScores, scored_ids

FAST = "JPEGImages_10fps"


@dataclass(frozen=True)
class VostPlan(BenchmarkPlan):
    """Scores the annotated frames except the first and the last, for ids 1 to the largest id in the first annotation."""

    def score(self, frames: Iterable[ScoredFrame]) -> SequenceScores:
        """Computes J only."""
        return vost.score_frames(self.clip.read_annotation(min(self.clip.annotations)), frames, self.clip.name)


@register("vost")
class Vost(VideoFolders):
    """Evaluates the videos that `ImageSets/SPLIT.txt` lists. 255 is background.

    Frames are read from `JPEGImages_10fps` if that folder exists, and from `JPEGImages` otherwise.
    """

    figures = vost.FIGURES
    annotated_only = True

    def images(self, root: Path) -> str:
        """Returns the folder with 10 frames per second if it exists, and otherwise the folder with 5 frames per second."""
        return FAST if (root / FAST).is_dir() else super().images(root)

    def listed(self, root: Path) -> dict[str, Any] | None:
        """Returns the names in `ImageSets/SPLIT.txt`."""
        return read_list(root / "ImageSets" / f"{self.settings.split}.txt")

    def plan(self, clip: Clip, notes: Notes) -> Plan:
        """Returns a plan that scores the annotated frames except the first and the last.

        Raises DataError if there are fewer than three annotated frames, or if the first annotation contains no object.
        """
        frames = inner_annotations(clip)
        if not scored_ids(clip.read_annotation(min(clip.annotations)), False).any():
            raise DataError(f"{clip.name}: the first annotation contains no object, so the video cannot be scored")
        return VostPlan(clip, frames)
