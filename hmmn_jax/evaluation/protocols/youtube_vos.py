"""YouTube-VOS 2018 and 2019."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Integer

from hmmn_jax.datasets.youtube_vos import YouTubeVideo, find_youtube_vos
from hmmn_jax.evaluation.clips import Clip, open_sequence
from hmmn_jax.evaluation.plans import OWN_RULE, Plan, plan_annotated
from hmmn_jax.evaluation.protocols.base import Opener, Protocol, register
from hmmn_jax.io.notes import Notes
from hmmn_jax.metrics.davis import scored_ids


@register("youtube_vos")
class YouTubeVOS(Protocol):
    """Videos of `meta.json`, whose objects start in different frames.

    All frames are segmented; the listed ones are submitted.
    """

    rule = OWN_RULE

    def find(self, root: Path, notes: Notes) -> dict[str, Opener]:
        """The videos that meta.json lists, with every frame if `SPLIT_all_frames` exists."""
        split, every = self.settings.split, root / f"{self.settings.split}_all_frames"
        found, problems = find_youtube_vos(root, split, None, order=self.settings.order, notes=notes)
        for problem in problems:
            notes.say(problem)
        if not every.is_dir():
            notes.say(f"no {every}: only the frames in {split} are segmented")
        return {name: partial(self._open, read, notes) for name, read in found.items()}

    def _open(self, read: Callable[[], YouTubeVideo], notes: Notes) -> Clip:
        video = read()
        for problem in video.problems:
            notes.say(problem)
        return open_sequence(video, self.settings.late_objects, notes)

    def inputs(self, root: Path) -> tuple[Path, ...]:
        """Frames and annotations, of the split and of all frames."""
        homes = root / self.settings.split, root / f"{self.settings.split}_all_frames"
        return tuple(home / kind for home in homes for kind in ("JPEGImages", "Annotations"))

    def plan(self, clip: Clip, notes: Notes) -> Plan:
        """The annotated frames after each object's first: the annotations for the benchmark's own rule are not public."""
        return plan_annotated(clip, self.settings.single_object, self.settings.mask_values, notes)

    def shown(self, ids: Integer[np.ndarray, "h w"]) -> Integer[np.ndarray, "h w"]:
        """Ids without void."""
        return scored_ids(ids, self.settings.single_object)
