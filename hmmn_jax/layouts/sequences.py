"""Sequences of frames with some masks: those of a DAVIS folder, or any folder of images with one mask."""

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from hmmn_jax.errors import DataError
from hmmn_jax.layouts.files import contents, reason, shortlist
from hmmn_jax.layouts.frames import IMAGE_SUFFIXES, list_frames


@dataclass(frozen=True)
class Sequence:
    """A video as files: its frames in order, and by index of the frame the mask files that there are."""

    name: str
    frames: tuple[Path, ...]
    masks: dict[int, Path]

    @property
    def frame_names(self) -> tuple[str, ...]:
        """The frames' file names without suffix, by which masks are named."""
        return tuple(frame.stem for frame in self.frames)

    @property
    def requested_frames(self) -> tuple[str, ...]:
        """The names of the frames of which a submission has the masks."""
        return self.frame_names


def read_folder(frames_dir: str | os.PathLike, mask_path: str | os.PathLike) -> Sequence:
    """Takes any folder of images, and the mask of the first of them, which may lie in the same folder.

    Raises DataError where either is missing.
    """
    frames_dir, mask_path = Path(frames_dir), Path(mask_path)
    if not mask_path.is_file():
        raise DataError(f"{mask_path}: no such file; {contents(mask_path.parent)}; give the mask of the first frame, a PNG")
    return Sequence(frames_dir.absolute().name, list_frames(frames_dir, exclude=mask_path), {0: mask_path})


def read_davis(
    root: str | os.PathLike,
    year: int | str,
    split: str,
    resolution: str | None = None,
    annotations: str = "Annotations",
    names: Collection[str] | None = None,
) -> list[Sequence]:
    """Lists the sequences of a split of DAVIS, in the order of its list.

    The list is `ImageSets/YEAR/SPLIT.txt`, for 2016 also `ImageSets/RESOLUTION/SPLIT.txt` (as DAVIS-2016 was released). It
    holds names of sequences, or pairs of a frame and its mask, and then only frames that it names count.

    Args:
        root: the folder that holds `JPEGImages`, `Annotations` and `ImageSets`.
        year: 2016 or 2017, the folder of the list.
        split: such as "train", "val" or "test-dev".
        resolution: such as "480p"; None takes the only one there is, or "480p".
        annotations: the folder of the masks, of which frames may have none.
        names: take these sequences of the list only.

    Raises DataError, which says what was looked for and what is there, where something is missing.
    """
    return [read() for read in find_davis(root, year, split, resolution, annotations, names).values()]


def find_davis(
    root: str | os.PathLike,
    year: int | str,
    split: str,
    resolution: str | None = None,
    annotations: str = "Annotations",
    names: Collection[str] | None = None,
) -> dict[str, Callable[[], Sequence]]:
    """As `read_davis`, but gives by name functions that read one sequence, so that one can fail without the others."""
    root = Path(root)
    resolution = resolution or _choose_resolution(root)
    list_path = _find_list(root, str(year), split, resolution)
    listed = _read_list(list_path)
    if missing := [name for name in names or () if name not in listed]:
        raise DataError(f"{list_path}: no sequence {missing[0]!r}; it lists {shortlist(list(listed))}")
    chosen = listed if names is None else {name: stems for name, stems in listed.items() if name in names}

    def read(name: str, stems: list[str] | None) -> Sequence:
        return _select_frames(read_sequence(root, name, resolution, annotations), stems, list_path)

    return {name: partial(read, name, stems) for name, stems in chosen.items()}


def read_unlisted(
    root: str | os.PathLike, resolution: str | None = None, annotations: str = "Annotations"
) -> tuple[list[Sequence], list[str]]:
    """Lists all sequences of a folder laid out as DAVIS is, with or without a folder of the resolution, that has no lists.

    Also says which it left out, one line each. Raises DataError where no sequence is left.
    """
    sequences, problems = [], []
    for read in find_unlisted(root, resolution, annotations).values():
        try:
            sequences.append(read())
        except DataError as error:
            problems.append(f"{error}; video left out")
    if not sequences:
        raise DataError(f"{root}: no sequence with frames and masks; {problems[0]}")
    return sequences, problems


def find_unlisted(
    root: str | os.PathLike, resolution: str | None = None, annotations: str = "Annotations"
) -> dict[str, Callable[[], Sequence]]:
    """As `read_unlisted`, but gives by name functions that read one sequence, so that one can fail without the others.

    Raises DataError where there is none to read.
    """
    home = _existing(Path(root) / "JPEGImages", "folder; give the folder that holds it")
    if not resolution:
        direct = any(path.suffix.lower() in IMAGE_SUFFIXES for path in home.glob("*/*"))
        resolution = "." if direct else _choose_resolution(Path(root))
    folder = _existing(home / resolution, "folder of sequences")
    names = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not names:
        raise DataError(f"{folder}: no sequence with frames and masks; {contents(folder)}")
    return {name: partial(read_sequence, root, name, resolution, annotations) for name in names}


def list_davis_splits(root: str | os.PathLike, year: int | str, resolution: str | None = None) -> list[str]:
    """Names the splits of which `read_davis` finds a list. Raises DataError for a folder that is not one of DAVIS."""
    root = Path(root)
    resolution = resolution or _choose_resolution(root)
    found = {path.stem for place in _list_places(str(year), resolution) for path in (root / "ImageSets" / place).glob("*.txt")}
    return sorted(found)


def read_sequence(root: str | os.PathLike, name: str, resolution: str, annotations: str = "Annotations") -> Sequence:
    """Takes one sequence out of a folder laid out as DAVIS is, which needs no list.

    Masks are the PNGs of `ROOT/ANNOTATIONS/RESOLUTION/NAME` that are named as frames are. Raises DataError where there are no
    frames, or none that has a mask.
    """
    frames = list_frames(Path(root) / "JPEGImages" / resolution / name)
    folder = _existing(Path(root) / annotations / resolution / name, "folder of masks")
    index = {frame.stem: i for i, frame in enumerate(frames)}
    files = [path for path in folder.iterdir() if path.suffix.lower() == ".png" and path.stem in index]
    if not files:
        raise DataError(f"{folder}: no PNG is named as a frame is; {contents(folder)}; expected such as {frames[0].stem}.png")
    return Sequence(name, frames, dict(sorted((index[path.stem], path) for path in files)))


def _existing(path: Path, what: str) -> Path:
    if not path.exists():
        raise DataError(f"{path}: no such {what}; {contents(path.parent)}")
    return path


def _choose_resolution(root: Path) -> str:
    folder = _existing(root / "JPEGImages", "folder; give the root of DAVIS, which holds it")
    found = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if len(found) == 1 or "480p" in found:
        return found[0] if len(found) == 1 else "480p"
    raise DataError(
        f"{folder}: expected a folder 480p or a single other resolution, found {shortlist(found)}; name a resolution"
    )


def _find_list(root: Path, year: str, split: str, resolution: str) -> Path:
    paths = [root / "ImageSets" / place / f"{split}.txt" for place in _list_places(year, resolution)]
    for path in paths:
        if path.is_file():
            return path
    folder = root / "ImageSets"
    there = sorted(str(path.relative_to(folder)) for path in folder.glob("*/*.txt"))
    raise DataError(
        f"{' or '.join(map(str, paths))}: no such list; {folder} has {shortlist(there)}; name a year and split of these"
    )


def _list_places(year: str, resolution: str) -> list[str]:
    # A list by resolution is that of 2016: taken for 2017, it would silently lack sequences.
    return [year, resolution] if year == "2016" else [year]


def _read_list(path: Path) -> dict[str, list[str] | None]:
    """Gives the listed sequences; for a list of frames the stems of each, for a list of names None."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {reason(error)}; expected a text of sequence names") from error
    listed: dict[str, list[str] | None] = {}
    for number, line in enumerate(lines, start=1):
        if not (entry := line.strip()):
            continue
        frame = PurePosixPath(entry.split()[0])
        if frame.suffix.lower() in IMAGE_SUFFIXES and frame.parent.name not in ("", ".."):
            stems = listed.setdefault(frame.parent.name, [])
            if stems is not None:
                stems.append(frame.stem)
        elif {"/", "\\"}.isdisjoint(entry) and entry not in (".", ".."):
            listed[entry] = None
        else:
            raise DataError(
                f"{path}: line {number}, {entry[:80]!r}, is neither the name of a sequence nor a frame and its mask"
            )
    if not listed:
        raise DataError(f"{path}: an empty list; expected names of sequences, or pairs of a frame and its mask")
    return listed


def _select_frames(sequence: Sequence, stems: list[str] | None, list_path: Path) -> Sequence:
    """Keeps the listed frames, all of which must be there."""
    if stems is None:
        return sequence
    listed = frozenset(stems)
    if missing := sorted(listed.difference(sequence.frame_names)):
        folder = sequence.frames[0].parent
        raise DataError(
            f"{list_path}: lists {len(missing)} frames that {folder} lacks, as {missing[0]}; copy the sequence again"
        )
    kept = [i for i, stem in enumerate(sequence.frame_names) if stem in listed]
    masks = {new: sequence.masks[old] for new, old in enumerate(kept) if old in sequence.masks}
    return Sequence(sequence.name, tuple(sequence.frames[i] for i in kept), masks)
