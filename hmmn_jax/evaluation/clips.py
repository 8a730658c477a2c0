"""Videos to segment: frames that are read one by one, and the masks that say what to segment."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from hmmn_jax.errors import DataError
from hmmn_jax.layouts import Sequence, VideoFile, fit_mask, read_image, read_mask
from hmmn_jax.layouts.files import contents


@dataclass(frozen=True)
class Clip:
    """A video to segment.

    frame_names: None where frames have none; they are numbered then.
    frames: read when they are asked for, one at a time.
    masks: by index of the frame the file with the ids of objects that start there; frame 0 may have none.
    requested: names of the frames whose masks are wanted; None: of all.
    sources: all files that it is read from.
    """

    name: str
    frame_names: tuple[str, ...] | None
    frames: Iterable[UInt8[np.ndarray, "h w 3"]]
    masks: dict[int, Path]
    requested: frozenset[str] | None = None
    sources: tuple[Path, ...] = ()

    def __len__(self) -> int:
        """How many frames there are; 0 if unknown."""
        return len(self.frame_names) if self.frame_names else getattr(self.frames, "frame_count", None) or 0

    def frame_name(self, index: int) -> str:
        """The name of a frame's mask, without suffix."""
        return self.frame_names[index] if self.frame_names else f"{index:05d}"


def open_sequence(sequence: Sequence, late_objects: bool = False) -> Clip:
    """A sequence of image files as a clip. Raises DataError where the first mask is missing.

    With `late_objects` each mask counts, for the objects that no earlier mask has, and the first frame may have none.
    """
    masks = sequence.masks if late_objects else {t: path for t, path in sequence.masks.items() if t == 0}
    if not masks:
        raise DataError(f"{sequence.name}: no mask of the first frame, {sequence.frames[0].name}; it says what to segment")
    requested = frozenset(sequence.requested_frames)
    sources = (*sequence.frames, *masks.values())
    return Clip(sequence.name, sequence.frame_names, _Images(sequence.frames), masks, requested, sources)


def open_video(video: Path, mask: Path) -> Clip:
    """A video file with the mask of its first frame as a clip; frames are named by number. Raises DataError."""
    if not mask.is_file():
        raise DataError(f"{mask}: no such file; {contents(mask.parent)}; give the mask of the first frame, a PNG")
    return Clip(video.stem, None, VideoFile(video), {0: mask}, None, (video, mask))


def read_given(clip: Clip, height: int, width: int) -> dict[int, UInt8[np.ndarray, "h w"]]:
    """By index of the frame the ids that start there, others being 0, "no label"; frame 0 always has an entry.

    Raises DataError for a mask that cannot be read or has another size.
    """
    given, known = {0: np.zeros((height, width), np.uint8)}, np.zeros(1, np.uint8)
    for t, path in sorted(clip.masks.items()):
        ids = fit_mask(read_mask(path), height, width, path)
        if len(new := np.setdiff1d(ids, known)):
            given[t] = np.where(np.isin(ids, new), ids, np.uint8(0))
            known = np.concatenate([known, new])
    return given


class _Images:
    """Image files, read in turn each time that they are iterated over."""

    def __init__(self, paths: tuple[Path, ...]):
        self.paths = paths

    def __iter__(self) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        return (read_image(path) for path in self.paths)
