"""Finds the sequences of DAVIS-2016 and DAVIS-2017 on disk. Each split is a list of sequences or frames."""

import os
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path, PurePosixPath

from hmmn_jax.datasets.folders import VideoFiles, choose_resolution, read_sequence
from hmmn_jax.datasets.listing import IMAGE_SUFFIXES
from hmmn_jax.errors import DataError
from hmmn_jax.io.files import check_name, reason, same_name, shortlist, user_path
from hmmn_jax.io.notes import Notes


def read_davis(
    root: str | os.PathLike,
    year: int | str,
    split: str,
    resolution: str | None = None,
    annotations: str = "Annotations",
    names: Collection[str] | None = None,
    *,
    order: str = "",
    notes: Notes | None = None,
) -> list[VideoFiles]:
    """Returns the sequences of a DAVIS split, in the order of its list.

    The list is `ImageSets/YEAR/SPLIT.txt`. In the first release of DAVIS-2016, the list is
    `ImageSets/RESOLUTION/SPLIT.txt`. Both paths are supported for DAVIS-2016. The list contains sequence names, or pairs of a
    frame and its mask. If the list contains pairs, only the listed frames are used.

    Args:
        root: the folder that contains `JPEGImages`, `Annotations` and `ImageSets`.
        year: 2016 or 2017.
        split: name of the split, such as "train", "val" or "test-dev".
        resolution: name of a resolution folder, such as "480p"; None: the only folder, or "480p" if there are several.
        annotations: the folder of the masks inside `root`. Some frames may have no mask.
        names: the sequences to read; None: all sequences in the list.
        order: see `list_frames`.
        notes: see `list_frames`.

    Raises:
        ConfigError: `order` is unknown.
        DataError: a file or folder is missing. The message lists the expected and the existing names.
    """
    readers = find_davis(root, year, split, resolution, annotations, names, order=order, notes=notes)
    return [read() for read in readers.values()]


def find_davis(
    root: str | os.PathLike,
    year: int | str,
    split: str,
    resolution: str | None = None,
    annotations: str = "Annotations",
    names: Collection[str] | None = None,
    *,
    order: str = "",
    notes: Notes | None = None,
) -> dict[str, Callable[[], VideoFiles]]:
    """Returns a dict that maps the name of each sequence of a DAVIS split to a function that reads the sequence.

    For the arguments, see `read_davis`. An error in one sequence does not affect the other sequences.
    """
    root = user_path(root)
    resolution = resolution or choose_resolution(root)
    list_path = _find_list(root, str(year), split, resolution)
    listed = read_list(list_path)
    if missing := [name for name in names or () if name not in listed]:
        raise DataError(f"{list_path}: the list contains no sequence {missing[0]!r}. It contains {shortlist(list(listed))}")
    chosen = listed if names is None else {name: stems for name, stems in listed.items() if name in names}

    def read(name: str, stems: list[str] | None) -> VideoFiles:
        return _select_frames(read_sequence(root, name, resolution, annotations, order=order, notes=notes), stems, list_path)

    return {name: partial(read, name, stems) for name, stems in chosen.items()}


def list_davis_splits(root: str | os.PathLike, year: int | str, resolution: str | None = None) -> list[str]:
    """Returns the splits for which a list exists. Raises DataError if the folder does not have the layout of DAVIS."""
    root = user_path(root)
    resolution = resolution or choose_resolution(root)
    found = {path.stem for place in _list_places(str(year), resolution) for path in (root / "ImageSets" / place).glob("*.txt")}
    return sorted(found)


def _find_list(root: Path, year: str, split: str, resolution: str) -> Path:
    paths = [root / "ImageSets" / place / f"{split}.txt" for place in _list_places(year, resolution)]
    for path in paths:
        if os.path.isfile(path):
            return path
    folder = root / "ImageSets"
    there = sorted(str(path.relative_to(folder)) for path in folder.glob("*/*.txt"))
    raise DataError(
        f"{' or '.join(map(str, paths))}: no such list. {folder} contains {shortlist(there)}. Choose one of these lists"
    )


def _list_places(year: str, resolution: str) -> list[str]:
    # A list in a resolution folder belongs to DAVIS-2016. With DAVIS-2017, a list of DAVIS-2016 would silently omit sequences.
    return [year, resolution] if year == "2016" else [year]


def read_list(path: Path) -> dict[str, list[str] | None]:
    """Reads a list of sequences.

    Returns a dict with a key for each sequence name. The values are lists of frame stems, or None if the file contains only
    sequence names. Raises DataError if the list cannot be read or is empty.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: the list cannot be read: {reason(error)}. The file must be a text file with sequence names"
        ) from error
    listed: dict[str, list[str] | None] = {}
    for number, line in enumerate(lines, start=1):
        if not (entry := line.strip()):
            continue
        frame = PurePosixPath(entry.split()[0])
        if frame.suffix.lower() in IMAGE_SUFFIXES and frame.parent.name not in ("", ".."):
            name, place = frame.parent.name, f"{path}: line {number}"
            stems = listed.setdefault(check_name(name, place), [])
            if stems is not None:
                stems.append(frame.stem)
        else:
            listed[check_name(entry, f"{path}: line {number}")] = None
    if not listed:
        raise DataError(f"{path}: the list is empty. Add names of sequences, or pairs of a frame and its mask")
    return listed


def _select_frames(sequence: VideoFiles, stems: list[str] | None, list_path: Path) -> VideoFiles:
    """Keeps only the listed frames. Raises DataError if a listed frame does not exist."""
    if stems is None:
        return sequence
    listed = {same_name(stem) for stem in stems}
    names = [same_name(name) for name in sequence.frame_names]
    if missing := sorted(listed.difference(names)):
        folder = sequence.frames[0].parent
        found = f"{len(missing)} frames in the list are missing from {folder}, such as {missing[0]}"
        raise DataError(f"{list_path}: {found}. Copy the sequence again")
    kept = [i for i, name in enumerate(names) if name in listed]
    masks = {new: sequence.masks[old] for new, old in enumerate(kept) if old in sequence.masks}
    return VideoFiles(sequence.name, tuple(sequence.frames[i] for i in kept), masks)
