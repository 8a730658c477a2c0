"""Masks among the frames of a folder, under whatever name, which would be segmented as frames."""

import collections
import re
from pathlib import Path

from hmmn_jax.errors import DataError
from hmmn_jax.layouts.pixels import open_image

_INDEXED = ("1", "P", "PA")
_GREY = ("L", "LA")
_LOSSY = ("JPEG", "MPO", "WEBP")
_FEW, _MOST = 8, 0.9  # a mask has few colours that cover most of it
_COUNTED = 1 << 16  # colours of an image, at most


def require_no_masks(frames: list[tuple[Path, str, str]]) -> None:
    """Raises DataError if some of the frames are masks.

    An indexed or one-bit image among images of other kinds is taken for a mask. An image with few colours is taken for one if
    it is grey among images in colour, or if its name is not like those of the other images, which have many colours. An image
    of one colour is a black or white frame.

    Args:
        frames: for each its path, the format of the file and the mode of its pixels.
    """
    if all(mode in _INDEXED for _, _, mode in frames):
        return
    usual_mode, usual_name = _usual([mode for _, _, mode in frames]), _usual([_pattern(path) for path, _, _ in frames])
    usual = next((path for path, _, mode in frames if mode == usual_mode and _pattern(path) == usual_name), None)
    found = []
    for path, kind, mode in frames:
        if kind in _LOSSY:
            continue
        if mode in _INDEXED:
            suspicious = _colours(path) != [1.0]
        elif mode in _GREY and usual_mode not in _GREY:
            suspicious = _is_flat(path)
        else:
            suspicious = usual is not None and _pattern(path) != usual_name and _is_flat(path) and not _is_flat(usual)
        found += [path] if suspicious else []
    if found:
        way_out = "move masks out of the folder of frames; if it is a frame, save it in colour"
        raise DataError(f"{found[0]}: looks like a mask among the frames ({len(found)} of {len(frames)} files); {way_out}")


def _usual(values: list[str]) -> str | None:
    """The value of more than half of the frames."""
    value, count = collections.Counter(values).most_common(1)[0]
    return value if 2 * count > len(values) else None


def _pattern(path: Path) -> str:
    """The name without suffix, with the same sign for every number."""
    return re.sub(r"\d+", "#", path.stem)


def _is_flat(path: Path) -> bool:
    return len(shares := _colours(path)) > 1 and sum(shares[:_FEW]) >= _MOST


def _colours(path: Path) -> list[float]:
    """The part of the image that each colour has, the largest first; of no colour if there are too many."""
    with open_image(path) as image:
        if image.mode not in (*_INDEXED, *_GREY, "RGB", "RGBA"):
            return []
        counts = sorted((count for count, _ in image.getcolors(_COUNTED) or ()), reverse=True)
        return [count / (image.width * image.height) for count in counts]
