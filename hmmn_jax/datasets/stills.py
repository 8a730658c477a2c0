"""Finds single images with masks, in the layouts of segmentation and salient-object data sets."""

import os
from pathlib import Path

from hmmn_jax.datasets.entries import LEFT_OUT, UNREAD_SUFFIXES, describe_missing
from hmmn_jax.datasets.folders import VideoFiles
from hmmn_jax.datasets.listing import IMAGE_SUFFIXES
from hmmn_jax.datasets.order import natural_key
from hmmn_jax.errors import DataError
from hmmn_jax.io.files import contents, reason, same_name, user_path
from hmmn_jax.io.notes import Notes

# Folder names of images and masks in VOC-like data sets, in DUTS and in ECSSD.
FOLDERS = (("JPEGImages", "Annotations"), ("DUTS-TR-Image", "DUTS-TR-Mask"), ("images", "ground_truth_mask"))
_JPEG, _PNG = frozenset((".jpg", ".jpeg")), frozenset((".png",))
_PICTURES = IMAGE_SUFFIXES | UNREAD_SUFFIXES


def read_stills(
    root: str | os.PathLike,
    images: str = "",
    masks: str = "",
    image_end: str = "",
    mask_end: str = "",
    *,
    notes: Notes | None = None,
) -> tuple[list[VideoFiles], list[str]]:
    """Returns a one-frame sequence for each image with a mask, in natural order, and a message for each skipped file.

    Images are JPEGs, and masks are PNGs with the same names. Subfolders, such as a folder per class, are part of the names.

    Args:
        root: the folder of the data set.
        images: the folder of the images inside `root`. If `images` is "", the first existing pair in `FOLDERS` is used. If
            no pair in `FOLDERS` exists, `root` itself must contain pairs `x.jpg` and `x.png`.
        masks: the folder of the masks inside `root`, if `images` is given.
        image_end: a suffix of the image names that the mask names do not have, such as "_im" in the BIG data set.
        mask_end: a suffix of the mask names that the image names do not have, such as "_gt" in the BIG data set.
        notes: receives the images and masks that are skipped because of their format.

    Raises:
        DataError: a folder does not exist, no image has a mask, or a file is a broken link.
    """
    root = user_path(root)
    found = [pair for pair in FOLDERS if (root / pair[0]).is_dir()]
    pair = (images, masks) if images else found[0] if found else ("", "")
    homes = [root / name for name in pair]
    for home in homes:
        if not home.is_dir():
            raise DataError(f"{home}: no such folder. {contents(home)}. Pass the folder that contains the images and masks")
    notes = Notes() if notes is None else notes
    together = homes[0] == homes[1]
    jpegs, problems = _by_name(homes[0], _JPEG, image_end)
    pngs, more = _by_name(homes[1], _PNG, mask_end)
    problems += more
    _tell_others(homes[0], _JPEG | _PNG if together else _JPEG, "images in formats other than JPEG", notes)
    if not together:
        _tell_others(homes[1], _PNG, "masks in formats other than PNG", notes)
    problems += [
        f"{path}: the mask {homes[1] / name}{mask_end}.png does not exist; the image is skipped"
        for name, path in jpegs.items()
        if name not in pngs
    ]
    problems += [f"{path}: the mask has no image; the mask is skipped" for name, path in pngs.items() if name not in jpegs]
    paired = [name for name in jpegs if name in pngs]
    if not paired:
        raise DataError(
            f"{root}: no image has a mask. {contents(homes[0])}. The files must have names such as JPEGImages/x.jpg and "
            "Annotations/x.png, or x.jpg and x.png",
            [*notes.lines(), *problems],
        )
    return [VideoFiles(name, (jpegs[name],), {0: pngs[name]}) for name in paired], problems


def _by_name(home: Path, suffixes: frozenset[str], end: str) -> tuple[dict[str, Path], list[str]]:
    """Returns a dict from names to files, and a message for each skipped file.

    The name of a file is its path relative to `home`, without the suffix and without `end`.
    """
    files: dict[str, Path] = {}
    problems: list[str] = []
    for folder, inner, names in os.walk(home, onerror=_refuse):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        problems += [
            f"{Path(folder) / name} is a link to a folder; the link is skipped"
            for name in inner
            if (Path(folder) / name).is_symlink()
        ]
        for path in (Path(folder) / name for name in sorted(names) if not name.startswith(".")):
            if path.suffix.lower() not in suffixes:
                continue
            if not os.path.isfile(path):
                raise DataError(f"{path}: {describe_missing(path)}. Restore this file, or remove it")
            name = same_name(path.relative_to(home).with_suffix("").as_posix().removesuffix(end))
            if (other := files.setdefault(name, path)) != path:
                problems.append(f"{path} is skipped, because {other.name} has the same name except for the suffix")
    return dict(sorted(files.items(), key=lambda item: natural_key(item[0]))), problems


def _tell_others(home: Path, suffixes: frozenset[str], kind: str, notes: Notes) -> None:
    """Adds a note for each image whose suffix is not in `suffixes`."""
    for path in sorted(home.rglob("*")):
        if path.suffix.lower() in _PICTURES - suffixes and not path.name.startswith("."):
            notes.add(LEFT_OUT, kind, str(path))


def _refuse(error: OSError) -> None:
    raise DataError(f"{error.filename} cannot be listed: {reason(error)}. Check its permissions") from error
