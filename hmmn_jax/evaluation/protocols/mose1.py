"""Evaluation on MOSE v1, scored according to the DAVIS rule. Only the first mask of each validation video is public."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hmmn_jax.evaluation.clips import Clip
from hmmn_jax.evaluation.plans import BenchmarkPlan, Plan, require_annotations
from hmmn_jax.evaluation.protocols.base import register
from hmmn_jax.evaluation.protocols.video_folders import VideoFolders
from hmmn_jax.io.notes import Notes
from hmmn_jax.metrics.davis import ScoredFrame, SequenceScores, score_frames, scored_frames


@dataclass(frozen=True)
class Mose1Plan(BenchmarkPlan):
    """Scores all frames except the first and the last, for ids 1 to the largest id in the first annotation.

    Scoring fails for a result with a larger id.
    """

    def score(self, frames: Iterable[ScoredFrame]) -> SequenceScores:
        """Scores the frames according to the DAVIS rule, but treats 255 in results as an id."""
        return score_frames(self.clip.read_annotation(0), frames, False, self.clip.name, void_in_result=False)


@register("mose1")
class Mose1(VideoFolders):
    """Evaluates the folders in `JPEGImages`, each of which is a video. 255 in annotations is background."""

    def listed(self, root: Path) -> dict[str, Any] | None:
        """Returns None, because MOSE has no list of videos."""
        return None

    def plan(self, clip: Clip, notes: Notes) -> Plan:
        """Returns a plan that scores all frames except the first and the last. Raises DataError if a frame is not annotated."""
        require_annotations(clip)
        return Mose1Plan(clip, tuple(scored_frames(len(clip), clip.name)))
