"""Evaluation on YouTube-VOS 2018 and 2019.

The masks of the training set are public. In the validation set, only the first mask of each object is public.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Integer

from hmmn_jax.datasets.meta import read_lines
from hmmn_jax.datasets.youtube_vos import YouTubeVideo, find_youtube_vos, read_categories
from hmmn_jax.errors import DataError
from hmmn_jax.evaluation.clips import Clip, open_sequence
from hmmn_jax.evaluation.plans import OWN_RULE, AnnotatedPlan, Plan, plan_annotated
from hmmn_jax.evaluation.protocols.base import Opener, Protocol, register
from hmmn_jax.io.notes import Notes
from hmmn_jax.metrics import youtube_vos
from hmmn_jax.metrics.davis import ScoredFrame, scored_ids

UNSEEN = "unseen_categories.txt"


@dataclass(frozen=True)
class YouTubePlan(AnnotatedPlan):
    """Scores each object on the annotated frames after its first mask.

    `unseen` states for each id whether its category is unseen.
    """

    unseen: Mapping[int, bool] = field(default_factory=dict)

    def score(self, frames: Iterable[ScoredFrame]) -> youtube_vos.YouTubeScores:
        """Computes J and F, and adds each object's group (seen or unseen)."""
        return youtube_vos.with_groups(super().score(frames), self.unseen)


@register("youtube_vos")
class YouTubeVOS(Protocol):
    """Evaluates the videos that `meta.json` lists. Objects may start on different frames.

    All frames are segmented. The masks of the frames listed in meta.json are submitted.

    If `unseen_categories.txt` exists, seen and unseen categories are scored separately. Each line of `unseen_categories.txt` is
    a category in meta.json.
    """

    figures = youtube_vos.FIGURES
    rule = OWN_RULE

    def find(self, root: Path, notes: Notes) -> dict[str, Opener]:
        """Finds the videos that meta.json lists, with all frames if `SPLIT_all_frames` exists."""
        split, every = self.settings.split, root / f"{self.settings.split}_all_frames"
        found, problems = find_youtube_vos(root, split, None, order=self.settings.order, notes=notes)
        for problem in problems:
            notes.say(problem)
        if not every.is_dir():
            notes.say(f"{every} does not exist, so only the frames in {split} are segmented")
        groups = _groups(root, split)
        return {
            name: partial(self._open, read, None if groups is None else groups[name], notes) for name, read in found.items()
        }

    def _open(self, read: Callable[[], YouTubeVideo], groups: dict[int, bool] | None, notes: Notes) -> Clip:
        video = read()
        for problem in video.problems:
            notes.say(problem)
        return dataclasses.replace(open_sequence(video, self.settings.late_objects, notes), about=groups)

    def inputs(self, root: Path) -> tuple[Path, ...]:
        """Returns the folders `JPEGImages` and `Annotations` of both `SPLIT` and `SPLIT_all_frames`."""
        homes = root / self.settings.split, root / f"{self.settings.split}_all_frames"
        return tuple(home / kind for home in homes for kind in ("JPEGImages", "Annotations"))

    def plan(self, clip: Clip, notes: Notes) -> Plan:
        """Returns a plan that scores each object on the annotated frames after its first mask.

        Only the server can score the validation set, because the annotations of the validation set are not public.
        """
        plan = plan_annotated(clip, self.settings.single_object, self.settings.mask_values, notes)
        if clip.about is None:
            topic = f"seen and unseen categories are not distinguished, because the data folder does not contain {UNSEEN}"
            notes.add(topic, "videos", clip.name)
        elif unknown := sorted(plan.first.keys() - clip.about.keys()):
            raise DataError(
                f"{clip.name}: meta.json contains no category for object {unknown[0]}. Add the category, or remove {UNSEEN}."
            )
        return YouTubePlan(**vars(plan), unseen=clip.about or {})

    def shown(self, ids: Integer[np.ndarray, "h w"]) -> Integer[np.ndarray, "h w"]:
        """Returns the ids, with void pixels set to 0 (background)."""
        return scored_ids(ids, self.settings.single_object)


def _groups(root: Path, split: str) -> dict[str, dict[int, bool]] | None:
    """Returns whether the category of each object is unseen, by video and id; None if no list of unseen categories exists."""
    if not (path := root / UNSEEN).is_file():
        return None
    unseen, meta = set(read_lines(path)), root / split / "meta.json"
    categories = read_categories(meta)
    known = {category for objects in categories.values() for category in objects.values()}
    if wrong := sorted(unseen - known):
        raise DataError(
            f"{path}: no object in {meta} has the category {wrong[0]!r}, expected one of {', '.join(sorted(known)) or 'none'}"
        )
    return {video: {i: category in unseen for i, category in objects.items()} for video, objects in categories.items()}
