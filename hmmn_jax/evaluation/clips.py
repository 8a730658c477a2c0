"""Defines `Clip`, a video to segment with its given masks, and opens videos as clips. Frames are read on demand."""

import contextlib
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer

from hmmn_jax.datasets.folders import VideoFiles
from hmmn_jax.errors import DataError
from hmmn_jax.inference.augmentation import Given
from hmmn_jax.io.files import check_name, contents
from hmmn_jax.io.images import VOID, fit_mask, is_wide, read_ids, settle_ids
from hmmn_jax.io.notes import Notes
from hmmn_jax.io.video import Video
from hmmn_jax.io.video_file import open_video

MOST = 2**16 - 1  # the largest possible id
MaskFile = Path | Mapping[int, Path]  # masks of a frame: one file with ids, or one file for each object, by id


def _one_file(file: MaskFile) -> Path:
    if isinstance(file, Mapping):
        raise TypeError(f"found a separate mask file for each of the objects {list(file)}, expected one file with all ids")
    return file


def files_of_objects(file: MaskFile) -> Mapping[int, Path]:
    """Returns the mask files of a frame by object id, for a video with a separate file for each object."""
    if not isinstance(file, Mapping):
        raise TypeError(f"{file}: found one mask file for the frame, expected a file for each object, as for other frames")
    return file


@dataclass(frozen=True)
class Clip:
    """A video to segment.

    Attributes:
        name: the name of the video and of its folder of masks.
        video: the frames, which are read on demand.
        masks: the masks of the objects that start in a frame, by frame index. Frame 0 may have no mask.
        requested: names of the frames whose masks are required; None: all frames.
        sources: the files of the video and of `masks`.
        annotations: all masks, by frame index, for scoring.
        turned: whether any frame has an EXIF orientation other than 1 (upright).
        hand_made: whether a user made the masks. If True, grey levels are an error by default, 255 is an object if the masks
            contain no other id, and unused masks are reported.
        mask_values: meaning of the values in grey masks; see `read_ids`.
        value_255: meaning of 255 in masks: "void", "id" (a normal id), or "" (an object if 255 is the only id, else void).
        about: metadata of the video from the benchmark's files. `Protocol.plan` uses this metadata.
        direction: direction in which a session propagates `masks`: "forward", "backward" or "both". With a direction, each
            mask is a complete annotation of its frame. If `direction` is "", each mask only adds the objects that start in its
            frame.
    """

    name: str
    video: Video
    masks: Mapping[int, MaskFile]
    requested: frozenset[str] | None = None
    sources: tuple[Path, ...] = ()
    annotations: Mapping[int, MaskFile] = field(default_factory=dict)
    turned: bool = False
    hand_made: bool = False
    mask_values: str = ""
    value_255: str = ""
    about: Any = None
    direction: str = ""

    def __post_init__(self) -> None:
        check_name(self.name, self.sources[0].parent if self.sources else "clip")

    def __len__(self) -> int:
        """The number of frames. For a video file, the number is approximate, and 0 if unknown."""
        return len(self.frame_names) if self.frame_names else self.video.length_hint

    @property
    def frame_names(self) -> tuple[str, ...] | None:
        """The names of the frames; None if frames only have numbers."""
        return self.video.frame_names

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the frames."""
        return self.video.size

    def frame_name(self, index: int) -> str:
        """The name of a frame's mask, without suffix."""
        return self.frame_names[index] if self.frame_names else f"{index:05d}"

    @property
    def requested_frames(self) -> list[int]:
        """The indices of the frames whose masks are required. For a video file, the number of frames is approximate."""
        return [t for t in range(len(self)) if self.requested is None or self.frame_name(t) in self.requested]

    @property
    def files(self) -> Iterator[Path]:
        """All files of the video, including annotations."""
        yield from self.sources
        for file in self.annotations.values():
            yield from file.values() if isinstance(file, Mapping) else (file,)

    def ids_at(self, index: int) -> list[int]:
        """The ids of the objects that have started by a given frame; empty unless each object has its own mask files."""
        started = [files for t, files in sorted(self.masks.items()) if t <= index and isinstance(files, Mapping)]
        return sorted(set().union(*started))

    @property
    def fps(self) -> float:
        """Frames per second; 0 if unknown."""
        return self.video.fps

    @functools.cached_property
    def _held(self) -> dict[int, frozenset[int] | str]:
        held: dict[int, frozenset[int] | str] = {}
        for t in sorted(self.annotations):
            try:
                held[t] = frozenset(np.unique(self.read_annotation(t)).tolist())
            except DataError as error:
                held[t] = str(error)
        return held

    @property
    def values(self) -> dict[int, frozenset[int]]:
        """The set of values in each annotation, by frame index. The value 255 is not replaced.

        Unreadable annotations are skipped.
        """
        return {t: held for t, held in self._held.items() if not isinstance(held, str)}

    @property
    def unreadable(self) -> list[str]:
        """The error messages for unreadable annotations."""
        return [held for held in self._held.values() if isinstance(held, str)]

    @property
    def binary(self) -> bool:
        """Whether the annotations contain 255 and no other id."""
        return not self.wide and set().union(*self.values.values()) - {0} == {VOID}

    def annotation(self, index: int) -> Path:
        """The mask file of a frame, for a video with one mask file per frame."""
        return _one_file(self.annotations[index])

    def read_annotation(self, index: int) -> Integer[np.ndarray, "h w"]:
        """Reads the mask file of a frame as ids, without replacing 255. Raises DataError if the file cannot be read."""
        return self._read(self.annotation(index))

    def read_truth(self, index: int, height: int, width: int) -> Integer[np.ndarray, "h w"]:
        """Reads the mask file of a frame as ids at the size of the frame, without replacing 255.

        Raises DataError if the file cannot be read or the mask does not fit the frame.
        """
        return fit_mask(self.read_annotation(index), height, width, self.annotation(index), self.turned)

    def read_given(self, height: int, width: int) -> dict[int, Given]:
        """Reads the masks of the objects that start in each frame, by frame index.

        Pixels outside the objects that start in a frame are 0 ("no label"). Frame 0 always has an entry. Raises DataError for a
        mask that cannot be read or has the wrong size.
        """
        given: dict[int, Given] = {0: np.zeros((height, width), np.uint8)}
        if any(isinstance(file, Mapping) for file in self.masks.values()):
            given[0] = {}
            for t, file in sorted(self.masks.items()):
                paths = sorted(files_of_objects(file).items())
                given[t] = {i: fit_mask(self._read(path), height, width, path, self.turned) > 0 for i, path in paths}
            return given
        known = np.zeros(1, np.uint16)
        for t, ids in self.read_complete(height, width).items():
            if len(new := np.setdiff1d(ids, known)):
                given[t] = np.where(np.isin(ids, new), ids, ids.dtype.type(0))
                known = np.concatenate([known, new])
        return given

    def read_complete(self, height: int, width: int) -> dict[int, Integer[np.ndarray, "h w"]]:
        """Reads `masks` as ids, by frame index, for a video with one mask file per frame.

        Raises DataError for a mask that cannot be read or has the wrong size.
        """
        files = {t: _one_file(file) for t, file in sorted(self.masks.items())}
        found = {t: self._read(path) for t, path in files.items()}
        held = set().union(*(np.unique(ids).tolist() for ids in found.values()))
        binary = self.binary if self.hand_made else not self.value_255 and held <= {0, VOID}
        return {t: settle_ids(fit_mask(ids, height, width, files[t], self.turned), binary) for t, ids in found.items()}

    def _read(self, path: Path) -> Integer[np.ndarray, "h w"]:
        ids = read_ids(path, values=self.mask_values, check_levels=self.hand_made, most=MOST)
        return ids.astype(np.uint16) if self.wide else ids

    @functools.cached_property
    def wide(self) -> bool:
        """Whether ids are uint16 and 255 is a normal id. The value is True if an id is above 255 or `value_255` is "id"."""
        if self.value_255 == "id":
            return True
        wide = (path for path in self.annotations.values() if not isinstance(path, Mapping) and is_wide(path))
        for path in wide:
            with contextlib.suppress(DataError):  # an error is reported when the mask is read
                if read_ids(path, most=MOST).max() > VOID:
                    return True
        return False

    @property
    def void(self) -> frozenset[int]:
        """The values that mean "void" in masks of ids: only 255, or none if `wide` is True."""
        return frozenset() if self.wide else frozenset((VOID,))


def open_sequence(
    sequence: VideoFiles,
    late_objects: bool = False,
    notes: Notes | None = None,
    hand_made: bool = False,
    mask_values: str = "",
    direction: str = "",
) -> Clip:
    """Opens a sequence of image files as a clip, and reads the header of every frame.

    With `late_objects`, each mask starts the objects that no earlier mask contains. With `direction` (see `Clip`), each mask
    annotates all objects, and the first frame needs no mask.

    Raises:
        DataError: the first mask is missing, the frames differ in size, or an image has several pages.
    """
    masks = sequence.masks if late_objects or direction else {t: path for t, path in sequence.masks.items() if t == 0}
    if not masks:
        later = ". No later frame has a mask either."
        if sequence.masks:
            first = sequence.frames[min(sequence.masks)].name
            later = f". The first frame with a mask is {first}. To start at this frame, pass --config.late_objects=True."
        raise DataError(f"{sequence.name}: the first frame, {sequence.frames[0].name}, has no mask{later}")
    if not sequence.requested_frames:
        raise DataError(f"{sequence.name}: no mask of this sequence is requested, so the sequence is not segmented")
    facts = sequence.images.inspect(notes)
    return Clip(
        sequence.name,
        sequence.images,
        masks,
        requested=frozenset(sequence.requested_frames),
        sources=(*sequence.frames, *masks.values()),
        annotations=sequence.masks,
        turned=facts.turned > 0,
        hand_made=hand_made,
        mask_values=mask_values,
        direction=direction,
    )


def open_film(
    video: Path,
    masks: dict[int, Path],
    late_objects: bool = False,
    notes: Notes | None = None,
    mask_values: str = "",
    direction: str = "",
) -> Clip:
    """Opens a video file as a clip; see `open_sequence`. Frames and their masks are named by frame number."""
    every = late_objects or bool(direction)
    for mask in masks.values():
        if not mask.is_file():
            raise DataError(f"{mask}: the file does not exist. {contents(mask.parent)}. Pass a PNG mask of the first frame.")
    if 0 not in masks and not (masks and every):
        later = (
            f". The first frame with a mask is {min(masks)}. To start at this frame, pass --config.late_objects=True."
            if masks
            else ""
        )
        raise DataError(f"{video.stem}: the first frame (frame 0) has no mask{later}")
    frames = open_video(video)
    frames.inspect(notes)
    if masks.keys() - {0} and (beyond := {t: path for t, path in masks.items() if t >= (count := len(frames))}):
        if 0 not in masks and [*beyond] == [count]:
            raise DataError(
                f"{beyond[count]} does not match a frame. The video has {count} frames, numbered from 0. "
                "If the masks are numbered from 1, rename them so that the first number is 0."
            )
        if notes is not None:
            notes.add(
                "some masks are skipped",
                "masks of frames beyond the end of their video",
                f"{min(beyond.values())}, {count} frames",
            )
        masks = {t: path for t, path in masks.items() if t < count}
        if not masks:
            raise DataError(f"{video.stem}: no mask matches a frame. The video has {count} frames, numbered from 0.")
    given = masks if every else {0: masks[0]}
    sources = (video, *given.values())
    return Clip(
        video.stem,
        frames,
        given,
        None,
        sources,
        masks,
        hand_made=True,
        mask_values=mask_values,
        direction=direction,
    )


def find_masks_of_video(annotations: Path, name: str, notes: Notes) -> dict[int, Path]:
    """Finds the masks of a video file, by frame number: `NAME.png` for the first frame, or `NAME/NUMBER.png` for any frame.

    Raises DataError if no mask is found, or if a frame has two masks.
    """
    found: dict[int, Path] = {}
    first = annotations / f"{name}.png"
    if first.is_file():
        found[0] = first
    if (annotations / name).is_dir():
        _add_numbered(found, annotations / name, notes)
    if not found:
        raise DataError(f"{first}: the file does not exist. {contents(annotations)}. Pass a PNG mask of the first frame.")
    return dict(sorted(found.items()))


def find_numbered_masks(folder: Path, notes: Notes) -> dict[int, Path]:
    """Returns the paths of the masks in a folder, by frame number. The masks are named `NUMBER.png`.

    Raises DataError if the folder contains no masks, or if a frame has two masks.
    """
    found: dict[int, Path] = {}
    _add_numbered(found, folder, notes)
    if not found:
        raise DataError(f"{folder}: no PNG is named after a frame number. {contents(folder)}. Name the masks like 00000.png.")
    return dict(sorted(found.items()))


def _add_numbered(found: dict[int, Path], folder: Path, notes: Notes) -> None:
    """Adds the masks `NUMBER.png` in a folder to `found`, by frame number. Raises DataError if a frame has two masks."""
    for path in sorted(folder.glob("*")):
        if path.suffix.lower() != ".png" or not path.stem.isdecimal():
            notes.add("some files are skipped", "files not named like 00000.png", str(path))
        elif (other := found.setdefault(int(path.stem), path)) != path:
            raise DataError(f"{path} and {other} are masks of the same frame. Keep only one mask of each frame.")
