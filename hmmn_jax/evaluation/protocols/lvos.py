"""Evaluation on LVOS v1 and v2. Each object has its own range of frames. Seen and unseen classes are scored separately."""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hmmn_jax.datasets.davis import read_list
from hmmn_jax.datasets.meta import read_meta
from hmmn_jax.errors import DataError
from hmmn_jax.evaluation.clips import Clip
from hmmn_jax.evaluation.plans import BenchmarkPlan, Plan
from hmmn_jax.evaluation.protocols.base import register
from hmmn_jax.evaluation.protocols.video_folders import VideoFolders
from hmmn_jax.io.notes import Notes
from hmmn_jax.metrics import lvos
from hmmn_jax.metrics.davis import ScoredFrame

UNSEEN = "unseen_videos.txt"


@dataclass(frozen=True)
class _Facts:
    """Metadata of a video. `ranges` is not validated. `unseen` is None if the list of unseen videos does not exist."""

    ranges: dict[int, Any]
    unseen: bool | None


@dataclass(frozen=True)
class LvosPlan(BenchmarkPlan):
    """Scores each object on its frames except the first and the last."""

    ranges: dict[int, lvos.FrameRange]
    unseen: bool

    def score(self, frames: Iterable[ScoredFrame]) -> lvos.LvosScores:
        """Computes J, F and the inputs of the metric V."""
        return lvos.score_frames(frames, self.ranges, self.unseen, self.clip.name)


@register("lvos")
class Lvos(VideoFolders):
    """Evaluates the videos that `SPLIT_meta.json` lists.

    The first mask of each object is given. The value 255 is an object id.
    """

    value_255 = "id"
    figures = lvos.FIGURES

    def listed(self, root: Path) -> dict[str, Any] | None:
        """Returns the metadata of each video (`_Facts`) by name. Raises DataError for invalid files."""
        path = root / f"{self.settings.split}_meta.json"
        unseen = read_list(root / UNSEEN).keys() if (root / UNSEEN).is_file() else None
        meta = read_meta(path)
        try:
            objects = {
                video: {int(i): entry for i, entry in about["objects"].items()} for video, about in meta["videos"].items()
            }
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            expected = 'expected {"videos": {NAME: {"objects": {ID: {"frame_range": {...}}}}}}'
            raise DataError(f"{path}: the file is not an LVOS list ({type(error).__name__}: {error}), {expected}") from error
        return {video: _Facts(ranges, None if unseen is None else video in unseen) for video, ranges in objects.items()}

    def given(self, clip: Clip, notes: Notes) -> Clip:
        """Returns the clip with only the first mask of each object.

        The validation data contains the masks of all frames, but the segmenter may use only the first mask of each object.
        """
        wanted, first = set(clip.about.ranges), {}
        for t in sorted(clip.masks):
            if new := wanted.intersection(np.unique(clip.read_annotation(t)).tolist()):
                first[t] = clip.masks[t]
                if not (wanted := wanted - new):
                    break
        for i in sorted(wanted):
            notes.add("objects without a mask are not segmented", "objects", f"{i} of {clip.name}")
        if not first:
            raise DataError(f"{clip.name}: no mask contains any of the objects {', '.join(map(str, sorted(wanted)))}")
        frames = clip.sources[: len(clip)]
        return dataclasses.replace(clip, masks=first, sources=(*frames, *(clip.annotation(t) for t in first)))

    def plan(self, clip: Clip, notes: Notes) -> Plan:
        """Returns a plan that scores the frames of all objects.

        Raises DataError if an object has no frame to score, a frame has no annotation, or it is unknown whether the video has
        an unseen class.
        """
        facts = clip.about
        if facts.unseen is None:
            raise DataError(
                f"{clip.name}: {UNSEEN} is missing from the folder of {self.settings.split}_meta.json. "
                "Copy the missing file from the LVOS toolkit."
            )
        ranges = {i: _frame_range(entry, f"{clip.name}, object {i}") for i, entry in facts.ranges.items()}
        places = {clip.frame_name(t): t for t in range(len(clip))}
        frames = set()
        for i, own in ranges.items():
            if not own.scored:
                raise DataError(
                    f"{clip.name}, object {i}: no frame is between its first and last frame, so the object cannot be scored. "
                    "Remove the object from the meta file."
                )
            for number in own.scored:
                t = places.get(f"{number:08d}", -1)
                if t not in clip.annotations:
                    raise DataError(
                        f"{clip.name}, object {i}: frame {number:08d} does not exist or is not annotated. Copy the video again."
                    )
                frames.add(t)
        return LvosPlan(clip, tuple(sorted(frames)), ranges, facts.unseen)


def _frame_range(entry: Any, what: str) -> lvos.FrameRange:
    try:
        found = entry["frame_range"]
        return lvos.FrameRange(*(int(found[name]) for name in ("start", "end", "frame_nums")))
    except (KeyError, TypeError, ValueError) as error:
        expected = "expected frame_range with start, end and frame_nums"
        raise DataError(f"{what}: {expected} ({type(error).__name__}: {error}). Copy the meta file again.") from error
    except DataError as error:
        raise DataError(f"{what}: {error}") from error
