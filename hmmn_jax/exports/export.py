"""The function `export`, which writes the masks of a video in one of several formats to a folder, an archive or a file."""

import contextlib
import operator
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Integer, UInt8

from hmmn_jax.errors import ConfigError
from hmmn_jax.exports.coco import Coco, YouTubeVis
from hmmn_jax.exports.exporter import Exporter, Label, MaskedFrame, VideoFacts
from hmmn_jax.exports.movie import Gif, Mp4
from hmmn_jax.exports.pngs import BinaryPngs, IndexedPngs, RgbaPngs
from hmmn_jax.io.files import part_path, user_path, writing_errors
from hmmn_jax.io.record import Record, move, replace_own, staging_folder
from hmmn_jax.io.video import Video

KINDS: dict[str, type[Exporter]] = {
    "davis": IndexedPngs,
    "binary": BinaryPngs,
    "rgba": RgbaPngs,
    "coco": Coco,
    "ytvis": YouTubeVis,
    "mp4": Mp4,
    "gif": Gif,
}
ARCHIVE = ".zip"
RECORD = ".export.json"
_DATE = (1980, 1, 1, 0, 0, 0)  # a fixed timestamp for the files in an archive, so that the archive depends only on the masks


def export(
    kind: str,
    path: str | os.PathLike,
    video: Video,
    find: Callable[[int], Any],
    *,
    start: int = 0,
    stop: int | None = None,
    labels: Mapping[int, Label] | None = None,
    report: Callable[[int, int], None] | None = None,
) -> list[str]:
    """Atomically writes the masks of the frames t with start <= t < stop. Frames are read and written one by one.

    Args:
        kind: a key of `KINDS`.
        path: for "davis", "binary" and "rgba", a folder or a .zip file; for "coco" and "ytvis", a .json file; for "mp4"
            and "gif", a file with this suffix. Only files that this function wrote are replaced.
        video: the frames.
        find: a function that takes the index of a frame and returns a `Result` of a segmenter, a `FrameResult` of a session, or
            any object with the same fields `mask`, `ids` and `probs` (`probs` may be None). `find` must return None if
            the frame has no mask.
        start: the index of the first frame.
        stop: the index after the last frame; None: the number of frames in the video.
        labels: names and colours of objects, by object id.
        report: a function that is called after each frame with the number of finished frames and the total number. An error
            raised by `report` stops the export.

    Returns:
        Remarks for the user about frames without a mask and frames without soft edges, one line each.

    Raises:
        ConfigError: the kind is unknown, or the path has the wrong suffix.
        ValueError: the range is empty or exceeds the video.
        DataError: the path exists and was not written by this function, a frame cannot be read, or writing fails.
    """
    target, exporter = user_path(path), _exporter(kind, user_path(path))
    count = len(video)
    start, stop = operator.index(start), count if stop is None else operator.index(stop)
    if not 0 <= start < stop <= count:
        raise ValueError(f"start is {start} and stop is {stop}, expected 0 <= start < stop <= {count}, the number of frames")
    facts = VideoFacts(video.name, video.size, video.fps, dict(labels or {}))
    with _published(target, exporter.suffix, video.name) as folder, exporter(folder, facts) as writer:
        for t in range(start, stop):
            image, found = video[t] if exporter.needs_image else None, find(t)
            mask, probs = None if found is None else np.asarray(found.mask), None
            if found is not None and exporter.needs_probs and (p := found.probs) is not None:
                probs = {int(k): one for k, one in zip(found.ids, np.asarray(p), strict=True)}
            writer.write(masked_frame(video, t, image, mask, probs))
            if report is not None:
                report(t + 1 - start, stop - start)
    return writer.remarks


def masked_frame(
    video: Video,
    t: int,
    image: UInt8[np.ndarray, "h w 3"] | None,
    mask: Integer[np.ndarray, "h w"] | None,
    probs: Mapping[int, Float[np.ndarray, "h w"]] | None,
) -> MaskedFrame:
    """Returns frame `t` for an exporter: the image, the mask, the probabilities and the file names."""
    name = video.frame_names[t] if video.frame_names else f"{t:05d}"
    file_name = video.file_names[t] if video.file_names else f"{name}.jpg"
    return MaskedFrame(t, name, file_name, image, mask, probs)


def _exporter(kind: str, path: Path) -> type[Exporter]:
    """Returns the exporter for `kind`. Raises ConfigError if the kind is unknown or does not support the path."""
    if kind not in KINDS:
        raise ConfigError(f"unknown kind of export {kind!r}, expected one of {', '.join(KINDS)}")
    exporter = KINDS[kind]
    suffix = path.suffix.lower()
    if exporter.suffix and suffix != exporter.suffix:
        raise ConfigError(f"{path}: an export of kind {kind} is a {exporter.suffix} file. Pass a name with this suffix.")
    if not exporter.suffix and suffix in {other.suffix for other in KINDS.values()} - {""}:
        raise ConfigError(
            f"{path}: an export of kind {kind} consists of many files. Pass a folder, or the name of a {ARCHIVE} archive."
        )
    return exporter


@contextlib.contextmanager
def _published(target: Path, suffix: str, name: str) -> Iterator[Path]:
    """Creates an empty folder to write to. On exit, the contents of the folder become the file, archive or folder `target`."""
    if suffix:
        with replace_own(target) as temporary:
            yield temporary.parent
            move(temporary.parent / f"{name}{suffix}", temporary)
    elif target.suffix.lower() == ARCHIVE:
        with replace_own(target) as temporary, staging_folder(part_path(temporary)) as folder:
            yield folder
            _archive(folder, temporary)
    else:
        with staging_folder(part_path(target.absolute())) as folder:
            yield folder
            with writing_errors(target):
                target.mkdir(parents=True, exist_ok=True)
            Record.load(target, target / RECORD).publish(folder, {})


def _archive(folder: Path, path: Path) -> None:
    """Writes all files in a folder to an archive, without compression, because PNGs are already compressed."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.writestr(zipfile.ZipInfo(file.relative_to(folder).as_posix(), _DATE), file.read_bytes())
