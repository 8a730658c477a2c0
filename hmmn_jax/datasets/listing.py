"""Lists the frames of a video that is stored as a folder of images."""

import filecmp
import os
from pathlib import Path

from hmmn_jax.datasets.entries import Entries, list_entries
from hmmn_jax.datasets.order import sort_frames
from hmmn_jax.errors import DataError
from hmmn_jax.io.files import contents, same_name, user_path
from hmmn_jax.io.notes import Notes

IMAGE_SUFFIXES = frozenset((".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"))


def list_frames(
    folder: str | os.PathLike, exclude: str | os.PathLike | None = None, order: str = "", notes: Notes | None = None
) -> tuple[Path, ...]:
    """Lists the images of a folder in natural order, for example frame_2 before frame_10.

    Args:
        folder: the folder of the images.
        exclude: a file that is not a frame, such as the mask. The file and identical copies of it are skipped.
        order: "natural", "decimal", "signed", "name" or "". See `sort_frames`.
        notes: receives the skipped files with the reasons, and a note if the order differs from plain alphabetical sorting.

    Raises:
        ConfigError: `order` is unknown.
        DataError: the folder does not exist; it contains no image in a supported format; an image is a broken link; two images
            have the same stem and would share a mask; the order of the names is ambiguous.
    """
    folder = user_path(folder)
    notes = Notes() if notes is None else notes
    entries = list_entries(folder, IMAGE_SUFFIXES, "files other than images")
    if exclude is not None:
        _leave_out_mask(entries, user_path(exclude))
    if not entries.files:
        raise DataError(_no_images(entries))
    by_name: dict[str, Path] = {}
    for frame in entries.files:
        if (other := by_name.setdefault(same_name(frame.stem), frame)) != frame:
            found = f"both {other.name} and {frame.name} are in this folder"
            raise DataError(f"{folder}: {found}. Move masks and other images to a separate folder")
    frames = sort_frames(folder, entries.files, order, notes)
    entries.tell(notes)
    return frames


def _leave_out_mask(entries: Entries, mask: Path) -> None:
    """Skips the mask and identical copies of it, regardless of their names."""
    if not mask.is_file():
        return
    size = mask.stat().st_size
    entries.leave_out([path for path in entries.files if mask.samefile(path)], "given as the mask")
    same_size = [path for path in entries.files if path.stat().st_size == size > 0]
    entries.leave_out([path for path in same_size if filecmp.cmp(mask, path, shallow=False)], "duplicates of the mask")


def _no_images(entries: Entries) -> str:
    if unread := entries.unread():
        found = f"the folder contains no images in a supported format, found {unread}"
        return f"{entries.folder}: {found}. Convert these images, for instance to .jpg or .png"
    return f"{entries.folder}: no images were found. {contents(entries.folder)}. Frames must be files such as 00000.jpg"
