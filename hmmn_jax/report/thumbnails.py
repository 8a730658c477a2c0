"""Thumbnails for the report: small pictures of the most informative frames of a sequence, with masks and annotations."""

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Integer, UInt8
from PIL import Image

from hmmn_jax.evaluation.clips import Clip
from hmmn_jax.evaluation.mask_files import MaskFiles
from hmmn_jax.evaluation.protocols import Protocol
from hmmn_jax.io.pictures import outline, overlay
from hmmn_jax.metrics.davis import SequenceScores

SIDE = 400  # maximum side length of a thumbnail, in pixels
THUMBNAIL_BYTES = 24_000  # maximum size of the JPEG in bytes, unless even the lowest quality needs more
GIVEN = "given"


@dataclass(frozen=True)
class Thumbnail:
    """A picture of frame `index`, with the name of the frame, the reason for the choice, and the JPEG as a data URI."""

    index: int
    frame_name: str
    label: str
    uri: str
    width: int
    height: int


def telling_frames(scores: SequenceScores) -> dict[int, str]:
    """Chooses frames of a sequence to show.

    The chosen frames are the frame with the given mask, the worst frame, the best frame, the next worst frame, and the first
    frame whose J&F is below 0.5. The next worst frame and the first frame below 0.5 are only chosen if these frames are far
    enough in time from the other chosen frames.

    Returns:
        A dict from the index of each chosen frame to its label, in temporal order.
    """
    quality = frame_quality(scores)
    gap = max(1, len(quality) // 10)
    chosen: dict[int, str] = {}

    def choose(t: int, label: str) -> None:
        if all(abs(t - other) >= gap for other in chosen):
            chosen[t] = label

    worst_first = np.argsort(quality, kind="stable").tolist()
    chosen[worst_first[0]] = "worst"
    chosen.setdefault(int(quality.argmax()), "best")
    if (low := np.flatnonzero(quality < 0.5)).size:
        choose(int(low[0]), "first below 0.5")
    if (apart := [t for t in worst_first if all(abs(t - other) >= 2 * gap for other in chosen)]) and len(chosen) < 4:
        choose(apart[0], "also below 0.5" if quality[apart[0]] < 0.5 else "next worst")
    return {0: GIVEN} | {scores.indices[t]: chosen[t] for t in sorted(chosen)}  # frame 0 is not scored


def spread_frames(clip: Clip, masks: Path, mask_files: MaskFiles, count: int = 5) -> dict[int, str]:
    """Chooses up to `count` frames, spread evenly over the frames with a mask in `masks`.

    Returns a dict from the index of each chosen frame to an empty label.
    """
    names = mask_files.frames(masks, clip.name)
    if clip.frame_names is None:
        there = sorted(int(name) for name in names if name.isdecimal())
    else:
        there = [i for i, name in enumerate(clip.frame_names) if name in names]
    return {there[i]: "" for i in np.linspace(0, len(there) - 1, min(count, len(there))).round().astype(int).tolist()}


def make_thumbnails(clip: Clip, masks: Path, chosen: dict[int, str], protocol: Protocol) -> list[Thumbnail]:
    """Creates pictures of the chosen frames. Masks are coloured, and annotations are white outlines.

    If the mask of a frame was an input of the model, the picture shows this mask instead of a prediction.

    Raises DataError for a file that cannot be read.
    """
    thumbnails = []
    for index, frame in _read_frames(clip, chosen):
        height, width = frame.shape[:2]
        name = clip.frame_name(index)
        truth = protocol.shown_truth(clip, index, height, width) if index in clip.annotations else None
        if truth is not None and chosen[index] == GIVEN:
            ids = truth
        else:
            ids = protocol.shown(protocol.mask_files.read(masks, clip.name, name))
        scale = min(1.0, SIDE / max(height, width))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        picture = overlay(np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BOX)), _resize(ids, size), 0.45)
        if truth is not None:
            picture = outline(picture, _resize(truth, size))
        thumbnails.append(Thumbnail(index, name, chosen[index], _data_uri(picture), *size))
    return thumbnails


def frame_quality(scores: SequenceScores) -> np.ndarray:
    """Returns J&F of each scored frame, averaged over the objects, as `float64 [t]`. If there is no F, returns J."""
    return np.mean([np.nanmean(values, axis=0) for values in (scores.j, scores.f) if not np.isnan(values).all()], axis=0)


def _read_frames(clip: Clip, chosen: dict[int, str]) -> Iterator[tuple[int, UInt8[np.ndarray, "h w 3"]]]:
    try:
        for index in sorted(chosen):
            yield index, clip.video[index]
    except IndexError:  # masks of an earlier, longer video may still exist
        return
    finally:
        clip.video.close()


def _resize(ids: Integer[np.ndarray, "h w"], size: tuple[int, int]) -> Integer[np.ndarray, "h1 w1"]:
    return np.asarray(Image.fromarray(ids).resize(size, Image.Resampling.NEAREST))


def _data_uri(picture: UInt8[np.ndarray, "h w 3"]) -> str:
    for quality in (80, 65, 50, 35):
        buffer = io.BytesIO()
        # Chroma subsampling is off, because subsampling would blur thin red lines.
        Image.fromarray(picture).save(buffer, format="JPEG", quality=quality, subsampling=0, optimize=True)
        if buffer.tell() <= THUMBNAIL_BYTES:
            break
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
