"""Lookup tables for sampling training clips: a few small arrays that combine the indexes of all data sets in a mixture."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ml_collections import ConfigDict

from data.source import Source
from hmmn_jax.errors import DataError


@dataclass(frozen=True)
class Tables:
    """The s data sets of a mixture, with u units (videos or still images) and their n annotated frames.

    Attributes:
        still: bool [s], whether the units of the set are still images.
        set_unit: int32 [s+1]; units set_unit[j]:set_unit[j+1] belong to set j.
        unit_frame: int32 [u+1]; frames unit_frame[k]:unit_frame[k+1] belong to unit k.
        unit_step: int32 [u], the median distance between annotated frames, in frames of the original video.
        set_frame: int32 [s+1]; frames set_frame[j]:set_frame[j+1] belong to set j.
        record: int64 [n], the record number of each frame in its data set.
        number: int32 [n], the number of each frame in the original video.
        size: int32 [n,2], height and width of each upright frame.
        orientation: int32 [n], EXIF orientation of each frame, from 1 to 8.
        set_donor: int32 [s+1]; donors set_donor[j]:set_donor[j+1] belong to set j.
        donor_frame: int32 [d], the frame of each object that can be pasted.
        donor_id: int32 [d], the id of each object that can be pasted.
    """

    still: np.ndarray
    set_unit: np.ndarray
    unit_frame: np.ndarray
    unit_step: np.ndarray
    set_frame: np.ndarray
    record: np.ndarray
    number: np.ndarray
    size: np.ndarray
    orientation: np.ndarray
    set_donor: np.ndarray
    donor_frame: np.ndarray
    donor_id: np.ndarray


def join(sources: Sequence[Source], settings: Sequence[ConfigDict], donor_share: tuple[float, float], frames: int) -> Tables:
    """Joins the indexes of all data sets, in the given order.

    Videos with fewer than `frames` annotated frames are skipped. Videos and images without an object are also skipped. A
    warning reports the number of skipped videos and images. `donor_share` contains the minimum and maximum area of a donor
    object, as a fraction of its image. Raises DataError for a data set without usable videos or images.
    """
    parts = [_one(source, setting, donor_share, frames) for source, setting in zip(sources, settings, strict=True)]

    def joined(name: str) -> np.ndarray:
        return np.concatenate([part[name] for part in parts])

    def bounds(name: str) -> np.ndarray:
        return np.cumsum([0, *(len(part[name]) for part in parts)]).astype(np.int32)

    set_frame = bounds("record")
    first_frame = [part["donor_frame"] + start for part, start in zip(parts, set_frame[:-1], strict=True)]
    return Tables(
        still=np.array([setting.still for setting in settings]),
        set_unit=bounds("length"),
        unit_frame=np.cumsum([0, *joined("length")]).astype(np.int32),
        unit_step=joined("step").astype(np.int32),
        set_frame=set_frame,
        record=joined("record"),
        number=joined("number"),
        size=joined("size"),
        orientation=joined("orientation").astype(np.int32),
        set_donor=bounds("donor_frame"),
        donor_frame=np.concatenate(first_frame).astype(np.int32),
        donor_id=joined("donor_id").astype(np.int32),
    )


def _one(source: Source, setting: ConfigDict, donor_share: tuple[float, float], frames: int) -> dict[str, np.ndarray]:
    index = source.index
    records = np.flatnonzero(index.annotated)
    if setting.still:
        records = records[np.isin(records, index.object_record)]
        length, step = np.ones(len(records), int), np.ones(len(records), int)
        found, wanted = int(index.annotated.sum()), "images contain an object"
    else:
        video = np.searchsorted(index.starts, records, side="right") - 1
        count = np.bincount(video, minlength=len(index.videos))
        seen = np.bincount(np.searchsorted(index.starts, index.object_record, side="right") - 1, minlength=len(count))
        kept = (count >= frames) & (seen > 0)
        records, video, length = records[kept[video]], video[kept[video]], count[kept]
        jumps = np.split(index.numbers[records], np.cumsum(length)[:-1])
        step = np.array([np.median(np.diff(numbers)) for numbers in jumps if len(numbers)], int)
        found, wanted = len(count), f"videos contain at least {frames} annotated frames and an object"
    if len(length) == 0:
        raise DataError(
            f"{source.name}: none of {found} {wanted}. Build the data set from other data, or remove it from data.sets."
        )
    if len(length) < found:
        warnings.warn(f"{source.name}: only {len(length)} of {found} {wanted}. The others are skipped.", stacklevel=3)
    frame = np.searchsorted(records, index.object_record)
    inside = (frame < len(records)) & (records[np.minimum(frame, len(records) - 1)] == index.object_record)
    share = index.object_area / index.sizes[index.object_record].prod(axis=1)
    donors = inside & (share >= donor_share[0]) & (share <= donor_share[1])
    return {
        "length": length,
        "step": np.maximum(step, 1),
        "record": records.astype(np.int64),
        "number": index.numbers[records],
        "size": index.sizes[records],
        "orientation": index.orientation[records],
        "donor_frame": frame[donors],
        "donor_id": index.object_id[donors],
    }
