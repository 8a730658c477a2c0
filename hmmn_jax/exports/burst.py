"""Reads and writes JSON files of BURST: sequences with the first mask of each object, and results in the same format.

A result is a copy of the given file with other masks and unchanged names, sizes and categories.
"""

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from hmmn_jax.errors import DataError
from hmmn_jax.exports.rle import compress, decode, run_lengths
from hmmn_jax.io.files import reason, write_file

Masks = Mapping[int, Bool[np.ndarray, "h w"]]  # the masks in a frame, by track id


@dataclass(frozen=True)
class BurstSequence:
    """A sequence of BURST.

    Attributes:
        key: data set and name; each key is unique.
        size: height and width.
        frames: all image paths, relative to the folder of the sequence.
        annotated: the image paths of the annotated frames. Only these frames are scored.
        encoded: for each annotated frame, the masks by track id, as compressed RLE.
    """

    key: tuple[str, str]
    size: tuple[int, int]
    frames: tuple[str, ...]
    annotated: tuple[str, ...]
    encoded: tuple[Mapping[int, str], ...]

    @functools.cached_property
    def places(self) -> tuple[int, ...]:
        """The index in `frames` of each annotated frame."""
        index = {frame: t for t, frame in enumerate(self.frames)}
        return tuple(index[frame] for frame in self.annotated)

    def masks(self, place: int) -> dict[int, Bool[np.ndarray, "h w"]]:
        """Decodes the masks of an annotated frame, by track id. Raises DataError if a mask cannot be decoded."""
        try:
            return {track: decode(text, *self.size) for track, text in sorted(self.encoded[place].items())}
        except ValueError as error:
            raise DataError(f"{'/'.join(self.key)}/{self.annotated[place]}: a mask cannot be decoded: {error}") from error

    def given(self) -> dict[int, dict[int, Bool[np.ndarray, "h w"]]]:
        """The masks of the tracks that start in each frame, in the form that `Segmenter.run` expects.

        The masks are indexed first by frame and then by track id. Frame 0 always has an entry.
        """
        given: dict[int, dict[int, Bool[np.ndarray, "h w"]]] = {0: {}}
        known: set[int] = set()
        for place, index in enumerate(self.places):
            if self.encoded[place].keys() - known:
                masks = self.masks(place)
                given.setdefault(index, {}).update({k: m for k, m in masks.items() if k not in known})
                known |= masks.keys()
        return given


def read_burst(path: Path) -> list[BurstSequence]:
    """Reads `first_frame_annotations.json`, `all_classes.json` or a result. Raises DataError if the file is invalid."""
    found = [_sequence(entry, path) for entry in _load(path)["sequences"]]
    if len({sequence.key for sequence in found}) < len(found):
        raise DataError(f"{path}: two sequences have the same data set and name. Copy the file again.")
    return found


def write_burst(path: Path, given: Path, results: Mapping[tuple[str, str], Sequence[Masks]]) -> None:
    """Writes a copy of the file `given` with the masks in `results`.

    Args:
        path: the new file.
        given: the file with the given masks.
        results: for each sequence, by `BurstSequence.key`, the masks of its annotated frames. Empty masks are omitted. In the
            frame in which a track starts, the given mask is written.

    Raises:
        DataError: a sequence is missing, or has the wrong number of frames, an unknown track, or a mask of the wrong size.
    """
    content = _load(given)
    for entry in content["sequences"]:
        sequence = _sequence(entry, given)
        name = "/".join(sequence.key)
        if sequence.key not in results:
            raise DataError(f"{given}: the sequence {name} has no result. Segment this sequence.")
        frames = results[sequence.key]
        if len(frames) != len(sequence.annotated):
            raise DataError(
                f"{name}: found masks of {len(frames)} frames, expected masks of the {len(sequence.annotated)} annotated frames"
            )
        first = sequence.given()
        tracks = {track for masks in first.values() for track in masks}
        entry["segmentations"] = []
        for frame, index, masks in zip(sequence.annotated, sequence.places, frames, strict=True):
            if unknown := sorted(masks.keys() - tracks):
                raise DataError(f"{name}/{frame}: the track {unknown[0]} is unknown, expected one of {sorted(tracks)}")
            if wrong := [track for track, mask in masks.items() if mask.shape != sequence.size]:
                found = masks[wrong[0]].shape
                raise DataError(f"{name}/{frame}: the mask of track {wrong[0]} has the shape {found}, expected {sequence.size}")
            own = first.get(index, {})
            entry["segmentations"].append(
                {
                    str(track): {"rle": compress(run_lengths(mask)), "is_gt": track in own, "score": 1.0}
                    for track, mask in sorted({**masks, **own}.items())
                    if mask.any()
                }
            )
    write_file(path, json.dumps(content) + "\n")


def _load(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"{path}: the file cannot be read: {reason(error)}. Copy the file again.") from error
    if not isinstance(content, dict) or not isinstance(content.get("sequences"), list):
        raise DataError(
            f'{path}: the file is not a BURST file, expected {{"sequences": [...], "categories": [...], "split": ...}}'
        )
    return content


def _sequence(entry: Any, path: Path) -> BurstSequence:
    try:
        encoded = tuple({int(k): mask["rle"] for k, mask in frame.items()} for frame in entry["segmentations"])
        sequence = BurstSequence(
            (str(entry["dataset"]), str(entry["seq_name"])),
            (int(entry["height"]), int(entry["width"])),
            tuple(map(str, entry["all_image_paths"])),
            tuple(map(str, entry["annotated_image_paths"])),
            encoded,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{path}: the file contains an invalid BURST sequence ({type(error).__name__}: {error})") from error
    name = "/".join(sequence.key)
    if len(encoded) != len(sequence.annotated):
        raise DataError(
            f"{path}: {name} has masks of {len(encoded)} frames, expected masks of {len(sequence.annotated)} annotated frames"
        )
    if missing := [frame for frame in sequence.annotated if frame not in sequence.frames]:
        raise DataError(f"{path}: {name} has no image of the annotated frame {missing[0]}")
    return sequence
