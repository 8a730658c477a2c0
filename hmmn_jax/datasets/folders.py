"""Reads videos stored as image files: folders in the layout of DAVIS, or any folder of frames with masks."""

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from hmmn_jax.datasets.entries import UNREAD_SUFFIXES, list_entries
from hmmn_jax.datasets.listing import IMAGE_SUFFIXES, list_frames
from hmmn_jax.errors import DataError
from hmmn_jax.io.files import check_name, contents, reason, same_name, shortlist, user_path
from hmmn_jax.io.image_video import ImageVideo
from hmmn_jax.io.inspection import FrameFacts
from hmmn_jax.io.notes import Notes

_MASK_SUFFIXES = frozenset((".png",))
_PICTURES = IMAGE_SUFFIXES | UNREAD_SUFFIXES
_SYSTEM_FOLDERS = (
    "@eaDir",
    "__MACOSX",
    "$RECYCLE.BIN",
    "lost+found",
)  # folders that NAS systems and file managers create


@dataclass(frozen=True)
class VideoFiles:
    """The files of a video: its frames in order, and its masks by frame index."""

    name: str
    frames: tuple[Path, ...]
    masks: dict[int, Path]

    @property
    def frame_names(self) -> tuple[str, ...]:
        """The file names of the frames without suffix. Each mask is named after its frame."""
        return tuple(frame.stem for frame in self.frames)

    @property
    def requested_frames(self) -> tuple[str, ...]:
        """The names of the frames for which a submission must contain masks."""
        return self.frame_names

    @cached_property
    def images(self) -> ImageVideo:
        """The frames as a video whose pixels are read on demand."""
        return ImageVideo(self.frames, self.name)

    def inspect(self, notes: Notes | None = None) -> FrameFacts:
        """Reads the headers of the frames; see `ImageVideo.inspect`. Raises DataError for frames that cannot be segmented."""
        return self.images.inspect(notes)


def read_folder(
    frames_dir: str | os.PathLike, mask_path: str | os.PathLike, *, order: str = "", notes: Notes | None = None
) -> VideoFiles:
    """Reads a folder of images and the mask of the first frame. The folder may contain the mask.

    Args:
        frames_dir: the folder of the frames. Its name becomes the name of the sequence.
        mask_path: the file of the mask.
        order: see `list_frames`.
        notes: see `list_frames`.

    Raises:
        ConfigError: `order` is unknown.
        DataError: `list_frames` fails, the mask is missing, or the folder has no name (for example, `/`).
    """
    frames_dir, mask_path = user_path(frames_dir), user_path(mask_path)
    if not os.path.isfile(mask_path):
        raise DataError(f"{mask_path}: no such file. {contents(mask_path.parent)}. Pass the mask of the first frame as a PNG")
    return VideoFiles(_name_of(frames_dir), list_frames(frames_dir, mask_path, order, notes), {0: mask_path})


def read_folder_with_masks(
    frames_dir: str | os.PathLike, masks_dir: str | os.PathLike, *, order: str = "", notes: Notes | None = None
) -> VideoFiles:
    """Reads a folder of images, and another folder with masks of some of the images. Each mask is named after its image.

    Args:
        frames_dir: the folder of the frames. Its name becomes the name of the sequence.
        masks_dir: the folder of the masks.
        order: see `list_frames`.
        notes: see `list_frames`. A note is also added for each mask that has no frame of the same name.

    Raises:
        ConfigError: `order` is unknown.
        DataError: `list_frames` or `match_masks` fails, or both folders are the same.
    """
    frames_dir, masks_dir = user_path(frames_dir), user_path(masks_dir)
    if masks_dir.resolve() == frames_dir.resolve():
        raise DataError(f"{masks_dir}: the masks are in the folder of the frames. Put the masks into a separate folder")
    frames = list_frames(frames_dir, order=order, notes=notes)
    return VideoFiles(_name_of(frames_dir), frames, match_masks(masks_dir, frames, notes)[0])


def _name_of(frames_dir: Path) -> str:
    named = frames_dir if frames_dir.name not in ("", "..") else frames_dir.resolve()
    return check_name(named.name, frames_dir)


def read_unlisted(
    root: str | os.PathLike,
    resolution: str | None = None,
    annotations: str = "Annotations",
    *,
    names: Collection[str] | None = None,
    order: str = "",
    notes: Notes | None = None,
) -> tuple[list[VideoFiles], list[str]]:
    """Returns all sequences of a folder in the layout of DAVIS. Lists of sequences and a resolution folder are optional.

    Args:
        root: the folder that contains `JPEGImages` and `Annotations`.
        resolution: see `read_davis`.
        annotations: the folder of the masks inside `root`.
        names: the sequences to read; None or empty: all sequences.
        order: see `list_frames`.
        notes: see `list_frames`. Notes about folders that have neither images nor masks are also added.

    Returns:
        The sequences, and a one-line reason for each sequence that was skipped.

    Raises:
        ConfigError: `order` is unknown.
        DataError: no sequence can be read, or one of `names` is missing.
    """
    sequences, problems = [], []
    for read in find_unlisted(root, resolution, annotations, names=names, order=order, notes=notes).values():
        try:
            sequences.append(read())
        except DataError as error:
            problems.append(f"{error}; the video is skipped")
    if not sequences:
        raise DataError(f"{root}: no sequence has both frames and masks. The first problem is: {problems[0]}")
    return sequences, problems


def find_unlisted(
    root: str | os.PathLike,
    resolution: str | None = None,
    annotations: str = "Annotations",
    *,
    names: Collection[str] | None = None,
    order: str = "",
    notes: Notes | None = None,
    images: str = "JPEGImages",
) -> dict[str, Callable[[], VideoFiles]]:
    """Returns a dict that maps the name of each sequence of a folder to a function that reads the sequence.

    An error in one sequence does not affect the other sequences. `images` is the folder of the frames inside `root`. For the
    other arguments, see `read_unlisted`.

    Raises:
        DataError: no sequence has frames and masks, or one of `names` is missing.
    """
    root = user_path(root)
    home = _existing(root / images, "folder. Pass the folder that contains the folders of the frames and the masks")
    if not resolution:
        resolution = "." if any(map(_is_picture, home.glob("*/*"))) else choose_resolution(root)
    folder = _existing(home / resolution, "folder of sequences")
    there = {path.name: path for path in _visible(folder) if path.is_dir() or not path.exists()}
    if missing := [name for name in names or () if name not in there]:
        raise DataError(f"{folder}: the folder contains no sequence {missing[0]!r}. It contains {shortlist(list(there))}")
    bare = [] if names else [name for name, path in there.items() if _is_bare(path, root / annotations / resolution / name)]
    if notes is not None:
        for name in bare:
            notes.add("some folders are skipped", "folders without images and masks", str(there[name]))
    chosen = [name for name in there if name not in bare and (not names or name in names)]
    if not chosen:
        raise DataError(f"{folder}: no sequence has both frames and masks. {contents(folder)}")
    return {
        name: partial(read_sequence, root, name, resolution, annotations, order=order, notes=notes, images=images)
        for name in chosen
    }


def read_sequence(
    root: str | os.PathLike,
    name: str,
    resolution: str,
    annotations: str = "Annotations",
    *,
    order: str = "",
    notes: Notes | None = None,
    images: str = "JPEGImages",
) -> VideoFiles:
    """Reads one sequence from a folder in the layout of DAVIS, without a list of sequences.

    The masks are the PNGs in `ROOT/ANNOTATIONS/RESOLUTION/NAME` that are named after frames. For `order` and `notes`, see
    `list_frames`. `images` is the folder of the frames inside `root`.

    Raises:
        ConfigError: `order` is unknown.
        DataError: `list_frames` or `match_masks` fails, or `name` is not a valid sequence name.
    """
    root = user_path(root)
    home = root / images / resolution
    frames = list_frames(home / check_name(name, home), order=order, notes=notes)
    folder = _existing(root / annotations / resolution / name, "folder of masks")
    masks, _ = match_masks(folder, frames, notes)
    return VideoFiles(name, frames, masks)


def match_masks(folder: Path, frames: tuple[Path, ...], notes: Notes | None = None) -> tuple[dict[int, Path], list[Path]]:
    """Finds the masks of frames: the PNGs in a folder that are named after the frames.

    Returns:
        The masks by frame index, and the PNGs without a frame of the same name. PNGs without a frame and other skipped files
        are added to `notes`.

    Raises:
        DataError: no frame has a mask; a frame has two masks; a mask is a broken link.
    """
    index = {same_name(frame.stem): i for i, frame in enumerate(frames)}
    entries = list_entries(folder, _MASK_SUFFIXES, "files other than PNGs")
    masks: dict[int, Path] = {}
    surplus = [path for path in entries.files if same_name(path.stem) not in index]
    entries.leave_out(surplus, "masks without a frame of the same name")
    for path in entries.files:
        if (other := masks.setdefault(index[same_name(path.stem)], path)) != path:
            raise DataError(f"{folder}: both {other.name} and {path.name} are in this folder. Keep only one mask per frame")
    if not masks:
        raise DataError(
            f"{folder}: no PNG has the name of a frame. {contents(folder)}. Masks must be PNGs, such as {frames[0].stem}.png"
        )
    if notes is not None:
        entries.tell(notes)
    return dict(sorted(masks.items())), surplus


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in _PICTURES and not path.name.startswith(".") and path.parent.name not in _SYSTEM_FOLDERS


def _visible(folder: Path) -> list[Path]:
    """Returns the entries of a folder that are not hidden, sorted by path. Raises DataError if the folder cannot be listed."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder}: the folder cannot be listed: {reason(error)}. Check its permissions") from error


def _is_bare(images: Path, masks: Path) -> bool:
    """Returns whether a folder is a system folder, or contains neither images nor masks."""
    if images.name in _SYSTEM_FOLDERS:
        return True
    return images.is_dir() and not any(map(_is_picture, images.glob("*"))) and not any(masks.glob("*.png"))


def _existing(path: Path, what: str) -> Path:
    if not os.path.exists(path):
        raise DataError(f"{path}: no such {what}. {contents(path.parent)}")
    return path


def choose_resolution(root: Path) -> str:
    """Returns the only resolution in `JPEGImages`, or 480p if there are several resolutions.

    Raises DataError if there is no resolution, or if there are several resolutions but 480p is missing.
    """
    folder = _existing(root / "JPEGImages", "folder. Pass the root of DAVIS, which contains JPEGImages")
    there = [path for path in _visible(folder) if path.is_dir() and path.name not in _SYSTEM_FOLDERS]
    found = [path.name for path in there if any(map(_is_picture, path.glob("*/*")))] or [path.name for path in there]
    if len(found) == 1 or "480p" in found:
        return found[0] if len(found) == 1 else "480p"
    raise DataError(
        f"{folder}: expected a 480p folder or exactly one other resolution, found {shortlist(found)}. Specify a resolution"
    )
