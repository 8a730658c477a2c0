"""What of a video can be scored, found out from its annotations before anything is segmented."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from hmmn_jax.errors import DataError
from hmmn_jax.evaluation.clips import Clip
from hmmn_jax.io.images import VOID, fit_mask, read_mask_size, require_fit
from hmmn_jax.io.notes import Notes
from hmmn_jax.metrics.davis import Rule, ScoredFrame, SequenceScores, score_annotated, score_frames, scored_frames, scored_ids


@dataclass(frozen=True)
class Plan:
    """What is scored of a video.

    Attributes:
        clip: the video.
        rule: how.
        first: by id of each object the index of its first annotated frame.
        others: ids of objects that have no annotated frame after their first.
        frames: the indices of the frames that are scored.
        binary: whether the annotations write their one object as 255.
    """

    clip: Clip
    rule: Rule
    first: dict[int, int]
    frames: tuple[int, ...]
    others: tuple[int, ...] = ()
    binary: bool = False

    def read_truth(self, index: int, height: int, width: int) -> UInt8[np.ndarray, "h w"]:
        """Reads the annotation of a frame as ids; under DAVIS's rule 255 is as it is, for `score_frames` to settle."""
        clip = self.clip
        ids = fit_mask(clip.read_annotation(index), height, width, clip.annotations[index], clip.turned)
        return self.settle(ids) if self.rule.annotated else ids

    def settle(self, ids: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
        """Gives ids as they are scored under the rule of annotated frames; 255 is the object only where it always is."""
        if self.binary:
            return (ids > 0).astype(np.uint8)
        ids = np.where(ids == VOID, np.uint8(0), ids)
        return (ids > 0).astype(np.uint8) if self.rule.single_object else ids

    def score(self, frames: Iterable[ScoredFrame]) -> SequenceScores:
        """Scores frames as they come: of each in `frames` index, name, predicted ids, annotated ids, and a name for errors."""
        if self.rule.annotated:
            return score_annotated(frames, self.first, self.clip.name, self.others)
        first = self.clip.read_annotation(0)
        return score_frames(first, (frame[1:] for frame in frames), self.rule.single_object, self.clip.name)


def plan_scores(clip: Clip, rule: Rule, notes: Notes) -> Plan:
    """Finds out what can be scored. Raises DataError, which says why, where nothing can."""
    plan = _plan_annotated(clip, rule, notes) if rule.annotated else _plan_davis(clip, rule, notes)
    for t in plan.frames:
        require_fit(read_mask_size(clip.annotations[t]), *clip.size, clip.annotations[t], clip.turned)
    return plan


def _plan_davis(clip: Clip, rule: Rule, notes: Notes) -> Plan:
    scored = scored_frames(len(clip), clip.name)
    if missing := [t for t in range(len(clip)) if t not in clip.annotations]:
        count = f"{len(missing)} of {len(clip)} frames lack one"
        raise DataError(f"{clip.name}: no annotation of frame {clip.frame_name(missing[0])} ({count})")
    first = scored_ids(clip.read_annotation(0), rule.single_object)
    ids = [int(i) for i in np.unique(first) if i]
    if not ids:
        raise DataError(f"{clip.name}: no object in the first annotation (255 is void unless single_object)")
    if absent := max(ids) - len(ids):
        kind = "ids that are not in the first annotation, scored all the same, 1.0 wherever nothing has them"
        for _ in range(absent):
            notes.add("the official rule flatters here", kind, clip.name)
    return Plan(clip, rule, {i: 0 for i in range(1, max(ids) + 1)}, tuple(scored))


def _plan_annotated(clip: Clip, rule: Rule, notes: Notes) -> Plan:
    if clip.unreadable:
        raise DataError(clip.unreadable[0])
    held = clip.values
    one, other = ([t for t, values in held.items() if values - {0} == {value}] for value in (1, VOID))
    if (
        one
        and other
        and set().union(*held.values()) <= {0, 1, VOID}
        and not any({1, VOID} <= values for values in held.values())
    ):
        names = clip.frame_name(one[0]), clip.frame_name(other[0])
        raise DataError(f"{clip.name}: one object is written as 1 on frame {names[0]} and as 255 on {names[1]}; write one id")
    if not held:
        raise DataError(f"{clip.name}: no annotations")
    binary = clip.binary
    first: dict[int, int] = {}
    for t, found in held.items():
        objects = found - ({0} if binary else {0, VOID})
        for i in sorted({1} if objects and (binary or rule.single_object) else objects):
            first.setdefault(i, t)
    last = max(held)
    counted = {i: t for i, t in first.items() if t < last}
    if not first:
        raise DataError(f"{clip.name}: no object in its annotations")
    if not counted:
        raise DataError(f"{clip.name}: no annotated frame after the first of an object, {clip.frame_name(last)}")
    others = tuple(sorted(first.keys() - counted.keys()))
    for i in others:
        notes.add("not scored", "objects without an annotated frame after their first", f"object {i} of {clip.name}")
    start = min(counted.values())
    wanted = (t for t in held if clip.requested is None or clip.frame_name(t) in clip.requested)
    frames = tuple(t for t in wanted if t > start)
    if not frames:
        raise DataError(f"{clip.name}: no annotation of a frame that is asked for after the first of an object")
    if (unannotated := len(clip) - 1 - start - len(frames)) > 0:
        notes.add("not scored", "videos with frames without annotation", f"{clip.name}, {unannotated} frames")
    return Plan(clip, rule, counted, frames, others, binary)


def plan_all(clips: Iterable[Clip], rule: Rule, notes: Notes) -> tuple[list[Plan], dict[str, str]]:
    """Plans several videos. Returns the plans, and by name of the videos that cannot be scored the reason."""
    plans, reasons = [], {}
    for clip in clips:
        try:
            plans.append(plan_scores(clip, rule, notes))
        except DataError as error:
            reasons[clip.name] = str(error)
    return plans, reasons
