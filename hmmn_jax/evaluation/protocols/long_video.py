"""Evaluation on Long-time Video, a benchmark of videos with thousands of frames. J and F are computed as in DAVIS."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hmmn_jax.datasets.davis import read_list
from hmmn_jax.evaluation.clips import Clip
from hmmn_jax.evaluation.plans import BenchmarkPlan, Plan, inner_annotations
from hmmn_jax.evaluation.protocols.base import register
from hmmn_jax.evaluation.protocols.video_folders import VideoFolders
from hmmn_jax.io.notes import Notes
from hmmn_jax.metrics.davis import ScoredFrame, SequenceScores, score_frames


@dataclass(frozen=True)
class LongVideoPlan(BenchmarkPlan):
    """Scores the annotated frames except the first and the last, for ids 1 to the largest id in the first annotation."""

    def score(self, frames: Iterable[ScoredFrame]) -> SequenceScores:
        """Returns J and F of each object, computed as in DAVIS."""
        return score_frames(self.clip.read_annotation(min(self.clip.annotations)), frames, False, self.clip.name)


@register("long_video")
class LongVideo(VideoFolders):
    """Evaluates the videos that `SPLIT.txt` lists. 255 is background in annotations and results."""

    rule = (
        "J and F of DAVIS are computed on the annotated frames except the first and the last. The DAVIS toolkit computes the "
        "same scores for a data set that contains only the annotated frames. The scorer of the Long Videos data set excludes "
        "only the first annotated frame."
    )
    annotated_only = True

    def listed(self, root: Path) -> dict[str, Any] | None:
        """Returns the names in `SPLIT.txt`."""
        return read_list(root / f"{self.settings.split}.txt")

    def plan(self, clip: Clip, notes: Notes) -> Plan:
        """Returns a plan that scores the annotated frames. Raises DataError if fewer than three frames are annotated."""
        return LongVideoPlan(clip, inner_annotations(clip))
