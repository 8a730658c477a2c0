"""Reads and checks frames for a data set, and builds its index."""

import collections
import io
import itertools
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from data.index import Index, binary_table, identity_map
from hmmn_jax.datasets.folders import VideoFiles
from hmmn_jax.errors import DataError, one_line
from hmmn_jax.io.files import reason
from hmmn_jax.io.images import VOID, decode_mask
from hmmn_jax.io.notes import Notes

_UPRIGHT = "frames are rotated upright according to their EXIF orientation, and masks must match the upright frames"
_TRANSPOSED = 5  # smallest EXIF orientation that swaps height and width


@dataclass
class Report:
    """The result of building a split.

    Attributes:
        videos, frames, annotated, objects: the numbers of videos, frames, frames with masks, and objects.
        problems: one line per problem, with the action taken, in the form "FILE: PROBLEM; ACTION".
        notes: remarks that are not problems.
    """

    videos: int = 0
    frames: int = 0
    annotated: int = 0
    objects: int = 0
    problems: list[str] = field(default_factory=list)
    notes: Notes = field(default_factory=Notes)

    def lines(self) -> list[str]:
        """Returns all notes and problems, one line each."""
        return [one_line(line) for line in (*(f"NOTE: {line}" for line in self.notes.lines()), *self.problems)]

    def summary(self, shown: int) -> str:
        """Formats the report as lines: the counts, the number of problems for each action, and the first `shown` problems."""
        lines = [f"videos: {self.videos}, frames: {self.frames}, frames with masks: {self.annotated}, objects: {self.objects}"]
        kinds = collections.Counter(problem.rsplit("; ", 1)[-1] for problem in self.problems)
        lines += [f"  {count} times: {kind}" for kind, count in kinds.items()]
        lines += [f"  {one_line(problem)}" for problem in self.problems[:shown]]
        if len(self.problems) > shown:
            lines.append(f"  ... {len(self.problems) - shown} more problems")
        return "\n".join(lines)


@dataclass
class Frame:
    """The result of reading a frame: the image, its mask and any problem.

    `jpeg` is empty if the image is unusable. `png` is empty if the mask is missing or unusable.
    """

    image: Path
    mask: Path | None = None
    jpeg: bytes = b""
    png: bytes = b""
    size: tuple[int, int] = (0, 0)  # height and width of the upright frame
    orientation: int = 1  # EXIF orientation
    counts: np.ndarray | None = None  # number of pixels of each value in the PNG, int [256]
    problem: str = ""

    @property
    def name(self) -> str:
        """The name of the image file without the suffix."""
        return self.image.stem


def read_frame(image: Path, mask: Path | None, soft: bool, check_levels: bool) -> Frame:
    """Reads a frame and its mask, and decodes both files to check that they are complete.

    For `soft`, see `Index`. For `check_levels`, see `decode_mask`.
    """
    frame = Frame(image, mask)
    if not is_utf8(frame.name):
        frame.problem = f"{image}: the file name is not valid UTF-8. Rename the file; the frame is skipped"
        return frame
    try:
        jpeg = _read(image)
        with Image.open(io.BytesIO(jpeg), formats=("JPEG",)) as picture:
            width, height = picture.size
            frame.orientation = _orientation(picture)
            # Decoding at a reduced size is faster, and still detects truncated files, because the whole file is read.
            picture.draft("RGB", (max(width // 8, 1), max(height // 8, 1)))
            picture.load()
    except Exception as error:  # each decoder raises its own exception types
        found = _kind(jpeg) if isinstance(error, UnidentifiedImageError) else reason(error)
        frame.problem = f"{image} is not a decodable JPEG: {found}; the frame is skipped"
        return frame
    frame.jpeg, frame.size = jpeg, (width, height) if frame.orientation >= _TRANSPOSED else (height, width)
    if mask is None:
        return frame
    try:
        png = _read(mask)
        values = decode_mask(png, mask, soft, check_levels=check_levels)
    except (DataError, OSError) as error:
        found = error if isinstance(error, DataError) else f"{mask} cannot be read: {reason(error)}"
        frame.problem = f"{found}; the mask is skipped"
        return frame
    if values.shape != frame.size:
        frame.problem = f"{mask}: {_sizes(values.shape, frame)}"
        if not _nearly(values.shape, frame.size):
            frame.problem += "; the mask is skipped"
            return frame
        frame.problem += "; the mask is kept"
    frame.png, frame.counts = png, np.bincount(values.ravel(), minlength=256)
    return frame


def is_utf8(name: str) -> bool:
    """Returns whether a file name can be encoded as UTF-8."""
    return not any("\ud800" <= c <= "\udfff" for c in name)


def _read(path: Path) -> bytes:
    """Reads a file. Also raises OSError for a pipe, because reading a pipe may block forever."""
    if path.exists() and not path.is_file():
        raise OSError("the path is not a regular file")
    return path.read_bytes()


def _orientation(picture: Image.Image) -> int:
    found = picture.getexif().get(ExifTags.Base.Orientation)
    return found if found in range(1, 9) else 1


def _kind(data: bytes) -> str:
    """Returns the reason why the content of a file is not a JPEG."""
    if not data:
        return "the file is empty"
    try:
        with Image.open(io.BytesIO(data)) as picture:
            way_out = "Convert the frames, for example with mogrify -path NEW_FOLDER -format jpg -quality 95 *"
            return f"the file format is {picture.format}, but frames must be JPEGs. {way_out}"
    except Exception:  # each decoder raises its own exception types
        return "the file is not an image in a known format"


def _sizes(mask: tuple[int, int], frame: Frame) -> str:
    height, width = frame.size
    text = f"the mask has {mask[1]}x{mask[0]} pixels, but its frame has {width}x{height} pixels"
    if frame.orientation >= _TRANSPOSED and not _nearly(mask, frame.size) and _nearly(mask, (width, height)):
        text += f" when rotated upright according to its EXIF orientation {frame.orientation}. Draw masks on the upright frame"
    return text


def _nearly(first: tuple[int, int], second: tuple[int, int]) -> bool:
    """Returns whether two sizes differ by at most one pixel."""
    return max(abs(a - b) for a, b in zip(first, second, strict=True)) <= 1


class IndexRows:
    """Builds the index of a split by adding its videos one by one."""

    def __init__(
        self,
        id_map: np.ndarray,
        soft: bool,
        fewest_masks: int,
        needs_object: bool,
        all_labelled: bool,
        has_rules: bool,
        report: Report,
    ):
        """Creates an empty index.

        Args:
            id_map: the value for `Index.id_map`.
            soft: the value for `Index.soft`.
            fewest_masks: minimum number of frames with masks in a video.
            needs_object: whether a video must contain an object.
            all_labelled: whether to report frames without a mask.
            has_rules: whether the data set defines the meaning of mask values. If false, the value 255 is reported, unless 255
                is the only object id of a video.
            report: the report to which counts and problems are added.
        """
        self.id_map, self.soft, self.report = id_map, soft, report
        self._fewest_masks, self._needs_object, self._all_labelled = fewest_masks, needs_object, all_labelled
        self._has_rules, self._void = has_rules, []
        self._videos: list[str] = []
        self._starts, self._binary = [0], []
        self._names, self._numbers, self._sizes, self._annotated, self._orientation = [], [], [], [], []
        self._objects: list[tuple[int, int, int]] = []

    def add(self, sequence: VideoFiles, video: list[Frame]) -> list[Frame]:
        """Adds the video of a sequence. Returns the usable frames, or an empty list if the video is skipped."""
        report, home = self.report, sequence.frames[0].parent
        report.problems += [frame.problem for frame in video if frame.problem]
        frames = [frame for frame in video if frame.jpeg]
        masks = [frame for frame in frames if frame.png]
        values = np.sum([frame.counts for frame in masks], axis=0) if masks else np.zeros(256, int)
        ids = np.array_equal(self.id_map, identity_map())
        binary = ids and values[VOID] > 0 and not values[1:VOID].any()
        areas = _areas(values, table := binary_table() if binary else self.id_map)
        wrong = "a name that is not valid UTF-8" if not is_utf8(sequence.name) else self._fault(len(masks), len(areas))
        if wrong:
            report.problems.append(f"{home}: {sequence.name} has {wrong}; the video is skipped")
            return []
        if self._all_labelled:
            report.problems += [
                f"{home / frame.name} has no mask; the frame is kept" for frame in frames if not (frame.png or frame.problem)
            ]
        absent = sorted(set(getattr(sequence, "objects", ())).difference(areas))
        report.problems += [f"{home}: object {i} of meta.json is in no mask; the object is ignored" for i in absent]

        for record, frame in enumerate(frames, start=len(self._names)):
            if frame.png:
                self._objects += [(record, i, area) for i, area in _areas(frame.counts, table).items()]
                if ids and not binary and frame.counts[VOID] and not self._has_rules:
                    self._void.append((frame.counts[VOID], frame.mask))
            if frame.orientation != 1:
                example = f"{frame.image}, orientation {frame.orientation}"
                report.notes.add(_UPRIGHT, "frames with an orientation other than 1", example)
        self._videos.append(sequence.name)
        self._binary.append(bool(binary))
        self._names += [frame.name for frame in frames]
        self._numbers += _numbers(sequence.frame_names, frames)
        self._sizes += [frame.size for frame in frames]
        self._annotated += [bool(frame.png) for frame in frames]
        self._orientation += [frame.orientation for frame in frames]
        self._starts.append(len(self._names))
        report.videos += 1
        report.frames += len(frames)
        report.annotated += len(masks)
        report.objects += len(areas)
        return frames

    def index(self) -> Index:
        """Returns the index of all added videos, and completes the report."""
        if self._void:
            pixels, masks = zip(*self._void, strict=True)
            count = f"{sum(pixels)} pixels in {len(masks)} of {sum(self._annotated)} masks (such as {masks[0]})"
            self.report.notes.say(f"the value 255 in videos with other ids is treated as void, not as an object: {count}")
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
            orientation=np.array(self._orientation, np.uint8),
        )

    def _fault(self, masks: int, objects: int) -> str:
        """Returns the reason why a video cannot be used, or "" if it can be used."""
        if masks < self._fewest_masks:
            return f"{masks} frame(s) with masks, expected at least {self._fewest_masks}"
        return "no object in any mask" if self._needs_object and not objects else ""


def _areas(counts: np.ndarray, table: np.ndarray) -> dict[int, int]:
    """Counts the pixels of each visible object."""
    areas = np.bincount(table, weights=counts, minlength=256).astype(int)
    return {int(i): int(areas[i]) for i in np.flatnonzero(areas) if i}


def _numbers(listed: tuple[str, ...], frames: list[Frame]) -> list[int]:
    """Returns the frame number of each usable frame.

    Frames are numbered by their names if all names are increasing integers, and otherwise by their positions in the list of all
    frames.
    """
    if all(name.isdecimal() and len(name) < 20 and int(name) < 2**31 for name in listed):
        numbers = [int(name) for name in listed]
        if all(first < second for first, second in itertools.pairwise(numbers)):
            return [int(frame.name) for frame in frames]
    position = {name: i for i, name in enumerate(listed)}
    return [position[frame.name] for frame in frames]
