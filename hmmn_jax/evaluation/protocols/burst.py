"""The exemplar-guided task of BURST, with videos from several data sets. The given masks and the submission are JSON files."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import overload

import numpy as np
from jaxtyping import Bool

from hmmn_jax.errors import DataError
from hmmn_jax.evaluation.clips import Clip
from hmmn_jax.evaluation.mask_files import FolderPerObject
from hmmn_jax.evaluation.plans import Plan
from hmmn_jax.evaluation.protocols.base import Opener, Protocol, register
from hmmn_jax.exports.burst import BurstSequence, Masks, read_burst, write_burst
from hmmn_jax.inference.augmentation import Given
from hmmn_jax.io.files import check_name, contents
from hmmn_jax.io.image_video import ImageVideo
from hmmn_jax.io.images import read_ids
from hmmn_jax.io.notes import Notes

GIVEN = "first_frame_annotations.json"
FOLDERS = FolderPerObject()


@dataclass(frozen=True, kw_only=True)
class BurstClip(Clip):
    """A video whose given masks are in the JSON file `given_file`."""

    sequence: BurstSequence
    given_file: Path

    def read_given(self, height: int, width: int) -> dict[int, Given]:
        """Returns the masks of the tracks that start in each frame, by frame index.

        Raises DataError if masks and frames differ in size.
        """
        if (height, width) != self.sequence.size:
            found = f"masks of {self.sequence.size[1]}x{self.sequence.size[0]} pixels"
            raise DataError(f"{self.name}: {self.given_file.name} has {found}, but the frames have {width}x{height}")
        return dict(self.sequence.given())

    def ids_at(self, index: int) -> list[int]:
        """Returns the ids of the tracks that start in or before the frame `index`."""
        places = self.sequence.places
        started = (masks for place, masks in enumerate(self.sequence.encoded) if places[place] <= index)
        return sorted(set().union(*started))


@register("burst")
class Burst(Protocol):
    """Segments the sequences that `annotations/SPLIT/first_frame_annotations.json` lists.

    The images are in `images/SPLIT/DATASET/SEQUENCE`. Tracks may overlap, so each track is segmented separately. The result is
    `submission.json`. HOTA scores are not computed.
    """

    mask_files = FOLDERS
    archive = "submission.json"
    submits = True

    def find(self, root: Path, notes: Notes) -> dict[str, Opener]:
        """Finds the sequences in the JSON file, and names them DATASET.SEQUENCE."""
        path = self._given_file(root)
        openers: dict[str, Opener] = {}
        for sequence in read_burst(path):
            name = check_name(".".join(sequence.key).replace("/", "."), path)
            if name in openers:
                raise DataError(f"{path}: two sequences would use the same folder {name}. Rename one of the sequences.")
            openers[name] = partial(self._open, root, name, sequence, notes)
        if not openers:
            raise DataError(f"{path}: the file contains no sequence. Copy the file again.")
        return openers

    def inputs(self, root: Path) -> tuple[Path, ...]:
        """Returns the folders of the split in `images` and in the folder of annotations."""
        return root / "images" / self.settings.split, root / self.settings.annotations / self.settings.split

    def plan(self, clip: Clip, notes: Notes) -> Plan:
        """Always raises DataError, because BURST scores are not computed."""
        raise DataError(
            f"{clip.name}: this program does not compute the scores of BURST (HOTA). "
            f"Pass {self.archive} to the official evaluator."
        )

    def refuse_submission(self, clips: Sequence[Clip]) -> str:
        """Returns an error message if a sequence in the file of given masks is missing from the result, and "" otherwise."""
        listed = {sequence.key for clip in clips[:1] for sequence in read_burst(_burst(clip).given_file)}
        missing = len(listed - {_burst(clip).sequence.key for clip in clips})
        return (
            f"{missing} of {len(listed)} sequences are missing, but all sequences are required. Segment the missing sequences."
            if missing
            else ""
        )

    def write_submission(self, path: Path, masks: Path, clips: Sequence[Clip]) -> str:
        """Writes the masks of the annotated frames as JSON. Raises DataError if a mask is missing."""
        results = {_burst(clip).sequence.key: _Results(_burst(clip), masks) for clip in clips}
        write_burst(path, _burst(clips[0]).given_file, results)
        return f"{len(results)} sequences"

    def _given_file(self, root: Path) -> Path:
        return root / self.settings.annotations / self.settings.split / GIVEN

    def _open(self, root: Path, name: str, sequence: BurstSequence, notes: Notes) -> Clip:
        folder = self.inputs(root)[0].joinpath(*sequence.key)
        frames = tuple(folder / frame for frame in sequence.frames)
        if missing := [path for path in frames if not path.is_file()]:
            count = f"{len(missing)} of {len(frames)} images are missing"
            raise DataError(
                f"{missing[0]}: the file does not exist. {count}. {contents(folder)}. Copy the images of the sequence."
            )
        if len({path.stem for path in frames}) < len(frames):
            raise DataError(f"{folder}: two images have the same name except for the suffix. Rename one of the images.")
        if wrong := sorted({track for masks in sequence.encoded for track in masks if not 0 < track < 2**16}):
            raise DataError(f"{name}: the sequence has a track {wrong[0]}, expected track numbers from 1 to {2**16 - 1}")
        video = ImageVideo(frames, name)
        video.inspect(notes)
        given, stems = self._given_file(root), frozenset(PurePosixPath(frame).stem for frame in sequence.annotated)
        return BurstClip(name, video, {}, stems, (*frames, given), sequence=sequence, given_file=given)


class _Results(Sequence[Masks]):
    """The saved masks of a video's annotated frames, read on demand."""

    def __init__(self, clip: BurstClip, masks: Path):
        self.clip, self.folder = clip, masks

    def __len__(self) -> int:
        return len(self.clip.sequence.annotated)

    @overload
    def __getitem__(self, place: int) -> Masks: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Masks]: ...
    def __getitem__(self, place: int | slice) -> Masks | Sequence[Masks]:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        if not 0 <= place < len(self):
            raise IndexError(place)
        return dict(self._read(self.clip.sequence.places[place]))

    def _read(self, index: int) -> Iterator[tuple[int, Bool[np.ndarray, "h w"]]]:
        ids, name = self.clip.ids_at(index), self.clip.frame_name(index)
        for track, file in zip(ids, FOLDERS.of_frame(self.clip.name, name, ids), strict=True):
            path = self.folder / file.name
            if not path.is_file():
                raise DataError(f"{path}: the file does not exist. Segment the sequence before you write a submission.")
            yield track, read_ids(path, values="ids") > 0


def _burst(clip: Clip) -> BurstClip:
    if not isinstance(clip, BurstClip):
        raise TypeError(f"{clip.name}: the clip is a {type(clip).__name__}, expected a BurstClip")
    return clip
