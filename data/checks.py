"""Frames read and checked on the way into a data set, and the index that grows with them."""

import collections
import io
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from data.index import Index, binary_table, identity_map
from hmmn_jax.errors import DataError
from hmmn_jax.layouts import Sequence, decode_mask
from hmmn_jax.layouts.files import reason
from hmmn_jax.layouts.images import VOID


@dataclass
class Report:
    """What came of a split: counts, and one line for each problem, which ends with what was done: "FILE: PROBLEM; DONE"."""

    videos: int = 0
    frames: int = 0
    annotated: int = 0
    objects: int = 0
    problems: list[str] = field(default_factory=list)

    def summary(self, shown: int) -> str:
        """Tells it on lines: the counts, how many problems ended in what, and the first `shown` of them."""
        lines = [f"{self.videos} videos, {self.frames} frames, {self.annotated} with masks, {self.objects} objects"]
        kinds = collections.Counter(problem.rsplit("; ", 1)[-1] for problem in self.problems)
        lines += [f"  {count} x {kind}" for kind, count in kinds.items()]
        lines += [f"  {problem}" for problem in self.problems[:shown]]
        return "\n".join(lines + [f"  ... {len(self.problems) - shown} more"] * (len(self.problems) > shown))


@dataclass
class Frame:
    """A frame as it was read: `jpeg` is empty where the image is no good, `png` where there is no mask or it is no good."""

    name: str
    jpeg: bytes = b""
    png: bytes = b""
    size: tuple[int, int] = (0, 0)
    counts: np.ndarray | None = None  # pixels by value in the PNG, int [256]
    problem: str = ""


def read_frame(image: Path, mask: Path | None, soft: bool) -> Frame:
    """Reads a frame and decodes it to see that it is whole; for `soft` see `Index`."""
    frame = Frame(image.stem)
    try:
        jpeg = image.read_bytes()
        with Image.open(io.BytesIO(jpeg), formats=("JPEG",)) as picture:
            width, height = picture.size
            picture.draft("RGB", (width // 8, height // 8))  # reads the whole file all the same, at less work
            picture.load()
    except Exception as error:  # each decoder raises its own kinds
        found = "an empty file" if image.is_file() and not image.stat().st_size else reason(error)
        frame.problem = f"{image}: no JPEG that can be decoded ({found}); frame left out"
        return frame
    frame.jpeg, frame.size = jpeg, (height, width)
    if mask is None:
        return frame
    try:
        png = mask.read_bytes()
        values = decode_mask(png, mask, soft)
    except (DataError, OSError) as error:
        frame.problem = f"{error if isinstance(error, DataError) else f'{mask}: {reason(error)}'}; mask left out"
        return frame
    if values.shape != frame.size:
        off_by_one = max(abs(values.shape[0] - height), abs(values.shape[1] - width)) <= 1
        sizes = f"the mask has {values.shape[1]}x{values.shape[0]} pixels, its frame {width}x{height}"
        frame.problem = f"{mask}: {sizes}; {'mask kept' if off_by_one else 'mask left out'}"
        if not off_by_one:
            return frame
    frame.png, frame.counts = png, np.bincount(values.ravel(), minlength=256)
    return frame


class IndexRows:
    """The index of a split while its videos come in one by one."""

    def __init__(self, id_map: np.ndarray, soft: bool, fewest_masks: int, needs_object: bool, all_labelled: bool):
        """Starts empty.

        Args:
            id_map: `Index.id_map`.
            soft: `Index.soft`.
            fewest_masks: how many frames with masks a video needs.
            needs_object: whether a video needs an object.
            all_labelled: whether a frame without a mask is worth a line in the report.
        """
        self.id_map, self.soft, self.report = id_map, soft, Report()
        self._fewest_masks, self._needs_object, self._all_labelled = fewest_masks, needs_object, all_labelled
        self._videos: list[str] = []
        self._starts, self._binary = [0], []
        self._names, self._numbers, self._sizes, self._annotated = [], [], [], []
        self._objects: list[tuple[int, int, int]] = []

    def add(self, sequence: Sequence, video: list[Frame]) -> list[Frame]:
        """Adds the video of a sequence and gives the frames that are kept: none where it is left out."""
        report, home = self.report, sequence.frames[0].parent
        report.problems += [frame.problem for frame in video if frame.problem]
        frames = [frame for frame in video if frame.jpeg]
        masks = [frame for frame in frames if frame.png]
        values = np.sum([frame.counts for frame in masks], axis=0) if masks else np.zeros(256, int)
        binary = np.array_equal(self.id_map, identity_map()) and values[VOID] > 0 and not values[1:VOID].any()
        areas = _areas(values, table := binary_table() if binary else self.id_map)
        if wrong := self._fault(len(masks), len(areas)):
            report.problems.append(f"{home}: {sequence.name} has {wrong}; video left out")
            return []
        if self._all_labelled:
            report.problems += [
                f"{home / frame.name}: no mask; frame kept" for frame in frames if not (frame.png or frame.problem)
            ]
        absent = sorted(set(getattr(sequence, "objects", ())).difference(areas))
        report.problems += [f"{home}: object {i} of meta.json is in no mask; ignored" for i in absent]

        for record, frame in enumerate(frames, start=len(self._names)):
            if frame.png:
                self._objects += [(record, i, area) for i, area in _areas(frame.counts, table).items()]
        self._videos.append(sequence.name)
        self._binary.append(bool(binary))
        self._names += [frame.name for frame in frames]
        self._numbers += _numbers(sequence.frame_names, frames)
        self._sizes += [frame.size for frame in frames]
        self._annotated += [bool(frame.png) for frame in frames]
        self._starts.append(len(self._names))
        report.videos += 1
        report.frames += len(frames)
        report.annotated += len(masks)
        report.objects += len(areas)
        return frames

    def index(self) -> Index:
        """Gives the index of what was added."""
        objects = np.array(self._objects, np.int32).reshape(-1, 3)
        return Index(
            videos=np.array(self._videos, str),
            starts=np.array(self._starts, np.int64),
            names=np.array(self._names, str),
            numbers=np.array(self._numbers, np.int32),
            sizes=np.array(self._sizes, np.int32).reshape(-1, 2),
            annotated=np.array(self._annotated, bool),
            object_record=objects[:, 0],
            object_id=objects[:, 1].astype(np.uint8),
            object_area=objects[:, 2],
            binary=np.array(self._binary, bool),
            id_map=self.id_map,
            soft=np.array(self.soft),
        )

    def _fault(self, masks: int, objects: int) -> str:
        """Says why a video is of no use, if it is not."""
        if masks < self._fewest_masks:
            return f"{masks} frames with masks, fewer than {self._fewest_masks}"
        return "no object in any mask" if self._needs_object and not objects else ""


def _areas(counts: np.ndarray, table: np.ndarray) -> dict[int, int]:
    """Sums the pixels of each object that has some."""
    areas = np.bincount(table, weights=counts, minlength=256).astype(int)
    return {int(i): int(areas[i]) for i in np.flatnonzero(areas) if i}


def _numbers(listed: tuple[str, ...], frames: list[Frame]) -> list[int]:
    """Numbers the kept frames as their names do, or by their place among all those that were listed."""
    if all(name.isdecimal() and int(name) < 2**31 for name in listed):
        return [int(frame.name) for frame in frames]
    position = {name: i for i, name in enumerate(listed)}
    return [position[frame.name] for frame in frames]
