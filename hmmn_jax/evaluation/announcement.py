"""Formats the list of videos that is printed before a run starts."""

import collections
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from hmmn_jax.errors import HMMNError
from hmmn_jax.evaluation.clips import Clip
from hmmn_jax.inference.augmentation import Given
from hmmn_jax.io.images import VOID
from hmmn_jax.io.notes import Notes
from hmmn_jax.session.timeline import BACKWARD, FORWARD

SHOWN = 10  # maximum number of videos in the list, and of objects in a line


def describe(clip: Clip, notes: Notes) -> str:
    """Returns one line: the number and size of a video's frames, and the size of each object in its first frame.

    Adds notes about masks that are not used. Raises DataError for a mask that cannot be used.
    """
    height, width = clip.size
    if clip.direction:
        return _describe_annotated(clip, notes)
    started = {t: _pixels(masks) for t, masks in clip.read_given(height, width).items()}
    objects = [
        f"{i} ({pixels:,} px{f' from frame {clip.frame_name(t)}' if t else ''})"
        for t, counts in started.items()
        for i, pixels in counts.items()
    ]
    if not objects:
        notes.add("the given masks contain no object, so all pixels become background", "videos", clip.name)
    note_void(clip, notes)
    if clip.hand_made:
        _note_what_is_not_used(clip, started, notes)
    return _line(clip, objects)


def _line(clip: Clip, objects: Sequence[str]) -> str:
    height, width = clip.size
    length = f"{len(clip)} frames" if clip.frame_names else f"about {len(clip)} frames" if len(clip) else "frames"
    listed = ", ".join(objects[:SHOWN]) + (f" and {len(objects) - SHOWN} more" if len(objects) > SHOWN else "")
    what = "no object" if not objects else f"{'object' if len(objects) == 1 else f'{len(objects)} objects:'} {listed}"
    return f"{clip.name} has {length} of {width}x{height} pixels and {what}"


def _describe_annotated(clip: Clip, notes: Notes) -> str:
    """Returns the line for a video with complete masks, including the number of masks that contain each object."""
    counts: collections.Counter[int] = collections.Counter()
    for mask in clip.read_complete(*clip.size).values():
        counts.update(_pixels(mask).keys())
    if not counts:
        notes.add("the given masks contain no object, so all pixels become background", "videos", clip.name)
    note_void(clip, notes)
    for reason in clip.unreadable:
        notes.add("some masks are skipped", "masks that cannot be read", reason)
    first, last = min(clip.masks), max(clip.masks)
    if clip.direction == FORWARD and first:
        notes.add("frames before the first mask are background unless you pass --config.direction=both", "videos", clip.name)
    if clip.direction == BACKWARD and last < len(clip) - 1:
        notes.add("frames after the last mask are background unless you pass --config.direction=both", "videos", clip.name)
    frames = "frame" if len(clip.masks) == 1 else "frames"
    line = _line(clip, [f"{k} (in {count} of the masks)" for k, count in sorted(counts.items())])
    return f"{line}. The video has {len(clip.masks)} annotated {frames}. The direction is {clip.direction}."


def _pixels(given: Given) -> dict[int, int]:
    """Returns the number of pixels of each object, by id."""
    if isinstance(given, Mapping):
        return {i: int(mask.sum()) for i, mask in given.items()}
    return dict(zip(*(x.tolist() for x in np.unique(given[given > 0], return_counts=True)), strict=True))


def announce(lines: Sequence[str], clips: Sequence[Clip]) -> str:
    """Returns the text to print: the first ten of `lines`, and the number of remaining videos and of their frames."""
    if len(lines) <= SHOWN:
        return "\n".join(lines)
    frames = sum(map(len, clips[SHOWN:]))
    return "\n".join([*lines[:SHOWN], f"... and {len(lines) - SHOWN} more videos with {frames:,} frames"])


def describe_all(clips: Sequence[Clip], notes: Notes) -> tuple[list[Clip], list[str], dict[str, str]]:
    """Returns the videos that can be segmented, their descriptions, and the errors of the other videos by name."""
    good, lines, failures = [], [], {}
    for clip in clips:
        try:
            lines.append(describe(clip, notes))
            good.append(clip)
        except HMMNError as error:
            failures[clip.name] = str(error)
    return good, lines, failures


def note_void(clip: Clip, notes: Notes) -> None:
    """Adds a note if the masks of a user contain 255 as well as other ids."""
    if clip.hand_made and not clip.binary:
        pixels = sum(int((clip.read_annotation(t) == VOID).sum()) for t, held in clip.values.items() if clip.void & held)
        if pixels:
            notes.add(
                "the value 255 is treated as void (background) because the masks also contain other ids",
                "videos",
                f"{clip.name}, {pixels:,} pixels",
            )


def _note_what_is_not_used(clip: Clip, started: Mapping[int, Collection[int]], notes: Notes) -> None:
    for reason in clip.unreadable:
        notes.add("some masks are skipped", "masks that cannot be read", reason)
    values = {1} if clip.binary else set().union(*clip.values.values()) - {0} - clip.void
    if late := sorted(values.difference(*started.values())):
        topic = "objects that first occur in later masks are not segmented unless you pass --config.late_objects=True"
        notes.add(topic, "videos", f"{clip.name}, object {late[0]}")
    sparse = 0 < len(clip.annotations) < len(clip)
    known = {0, *clip.void, *late}
    if again := [t for t, held in clip.values.items() if t and sparse and held - known - set(started.get(t, ()))]:
        topic = "later masks of known objects are not used for segmentation unless you pass --config.direction=both"
        notes.add(topic, "videos", f"{clip.name}, frame {clip.frame_name(again[0])}")
