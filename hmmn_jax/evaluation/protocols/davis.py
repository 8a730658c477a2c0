"""Evaluation on DAVIS-2016 and DAVIS-2017, including test-dev."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Integer

from hmmn_jax.datasets.davis import find_davis
from hmmn_jax.datasets.folders import VideoFiles
from hmmn_jax.evaluation.clips import Clip, open_sequence
from hmmn_jax.evaluation.plans import Plan, plan_davis
from hmmn_jax.evaluation.protocols.base import Opener, Protocol, register
from hmmn_jax.io.notes import Notes
from hmmn_jax.metrics.davis import scored_ids


@register("davis")
class Davis(Protocol):
    """Evaluates the sequences in `ImageSets/YEAR/SPLIT.txt`. The first mask of each sequence is given.

    The value 255 is void, unless it is the only id (DAVIS-2016).
    """

    def find(self, root: Path, notes: Notes) -> dict[str, Opener]:
        """Finds the sequences in the list `ImageSets/YEAR/SPLIT.txt`."""
        settings = self.settings
        found = find_davis(
            root,
            settings.year,
            settings.split,
            settings.resolution or None,
            settings.annotations,
            tuple(settings.sequences) or None,
            order=settings.order,
            notes=notes,
        )
        return {name: partial(self._open, read, notes) for name, read in found.items()}

    def _open(self, read: Callable[[], VideoFiles], notes: Notes) -> Clip:
        return open_sequence(read(), self.settings.late_objects, notes)

    def inputs(self, root: Path) -> tuple[Path, ...]:
        """Returns `JPEGImages` and the annotation folder."""
        return root / "JPEGImages", root / self.settings.annotations

    def plan(self, clip: Clip, notes: Notes) -> Plan:
        """Returns a plan with the official scoring rule.

        All frames except the first and the last are scored, for ids 1 to the largest id in the first annotation.
        """
        return plan_davis(clip, self.settings.single_object, self.settings.mask_values, notes)

    def shown(self, ids: Integer[np.ndarray, "h w"]) -> Integer[np.ndarray, "h w"]:
        """Returns the ids to show in pictures: the scored ids."""
        return scored_ids(ids, self.settings.single_object)
