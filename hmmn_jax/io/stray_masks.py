"""Detects masks among the frames in a folder, because masks would otherwise be segmented as frames."""

import collections
import re
import statistics
from pathlib import Path

import numpy as np

from hmmn_jax.errors import DataError
from hmmn_jax.io.files import same_name
from hmmn_jax.io.notes import Notes
from hmmn_jax.io.pixels import open_image

_INDEXED = ("1", "P", "PA")
_GREY = ("L", "LA")
_COLOUR = ("RGB", "RGBA")
_LOSSY = ("JPEG", "MPO", "WEBP")
_FEW, _MOST = 8, 0.9  # number of most frequent colours, and the minimum fraction of a mask that these colours cover
_COUNTED = 1 << 16  # maximum number of colours in an image that may be a mask
_ROUNDED = 16  # number of adjacent levels that are treated as equal, because compression changes values
# A large colour covers at least the fraction `_LARGE` of an image. In a mask, two large colours differ by at least `_CONTRAST`
# rounded levels in one of the channels. In a dark frame, large colours are more similar.
_LARGE, _CONTRAST = 0.01, 4
# The `_ENDS` darkest levels are treated as black, and the `_ENDS` brightest levels as white. In a mask, black and white each
# cover at least the fraction `_END_PART`.
_ENDS, _END_PART = 24, 0.001
_SMALL = 8  # files smaller than the median size divided by this factor are decoded
_LOOKED_AT = 16  # maximum number of decoded files for each unusual name pattern
_KINDS = 4  # with more than this number of name patterns, files are compared only if most files share a pattern
_TOLD = 4  # minimum number of frames in a folder for unusual names to be reported


def require_no_masks(frames: list[tuple[Path, str, str]], notes: Notes | None = None) -> None:
    """Raises DataError if any of the frames looks like a mask.

    An indexed or one-bit image among images of other modes is considered a mask. A grey image among colour images is considered
    a mask if its name pattern is unusual, or if it has few colours. Among images with many colours, an image with few colours
    is considered a mask if its name pattern is unusual or its file is much smaller than most other files. An image with a
    single colour is considered a frame. A name pattern is unusual if most frames share another name pattern.

    Args:
        frames: path, file format and pixel mode of each frame.
        notes: collects the frames with an unusual name pattern, if more than half of the frames share another pattern.
    """
    patterns = [_pattern(path) for path, _, _ in frames]
    usual_mode, usual_name = _usual([mode for _, _, mode in frames]), _usual(patterns)
    if notes is not None and usual_name is not None and len(frames) >= _TOLD:
        for (path, _, _), pattern in zip(frames, patterns, strict=True):
            if pattern != usual_name:
                notes.add("some frames have unusual names", "frames", str(path))
    if all(mode in _INDEXED for _, _, mode in frames):
        return
    usual = [frame for frame, name in zip(frames, patterns, strict=True) if frame[2] == usual_mode]
    if usual_name is not None or len(set(patterns)) > _KINDS:
        usual = [frame for frame in usual if _pattern(frame[0]) == usual_name]
    largest = max(usual, key=lambda frame: frame[0].stat().st_size, default=None)
    # The largest file is considered a frame. Its name pattern identifies the frames, even if half of the files are masks.
    compared = None if largest is None else _pattern(largest[0])
    # If the largest frame has few colours, the frames are drawings, which look like masks.
    detailed = largest is not None and not _is_flat(largest[0], largest[1])
    small = _small_files([path for path, kind, _ in frames if kind not in _LOSSY]) if detailed else set()
    looked_at: collections.Counter[str] = collections.Counter()
    found = []
    for (path, kind, mode), pattern in zip(frames, patterns, strict=True):
        unlike = usual_name is not None and pattern != usual_name
        if mode in _INDEXED:
            suspicious = _colours(path) != [1.0]
        elif mode in _GREY and usual_mode not in _GREY:
            if unlike:
                suspicious = _colours(path) != [1.0]
            else:
                suspicious = _is_black_and_white(path) if kind in _LOSSY else _is_flat(path, kind)
        elif detailed and pattern != compared and looked_at[pattern] < _LOOKED_AT:
            looked_at[pattern] += 1
            suspicious = _is_flat(path, kind)
        else:
            suspicious = path in small and mode in _COLOUR and 1 < len(_colours(path)) <= _FEW
        found += [path] if suspicious else []
    if found:
        way_out = "Move masks to another folder. If this file is a frame, save it as a colour image"
        raise DataError(f"{found[0]} looks like a mask among the frames ({len(found)} of {len(frames)} files). {way_out}")


def _usual(values: list[str]) -> str | None:
    """The value that more than half of the frames share; None if there is no such value."""
    value, count = collections.Counter(values).most_common(1)[0]
    return value if 2 * count > len(values) else None


def _pattern(path: Path) -> str:
    """The file name without its suffix, and with every number replaced by the same character."""
    return re.sub(r"\d+", "#", same_name(path.stem).casefold())


def _small_files(paths: list[Path]) -> set[Path]:
    """The files that are much smaller than most other files."""
    sizes = {path: path.stat().st_size for path in paths}
    return {path for path, size in sizes.items() if _SMALL * size < statistics.median(sizes.values())} if sizes else set()


def _is_flat(path: Path, kind: str) -> bool:
    if kind in _LOSSY:
        return _is_flat_if_rounded(path)
    shares = _colours(path)
    return len(shares) > 1 and sum(shares[:_FEW]) >= _MOST


def _colours(path: Path) -> list[float]:
    """The fractions of an image that its colours cover, in descending order; an empty list if there are too many colours."""
    with open_image(path) as image:
        if image.mode not in (*_INDEXED, *_GREY, *_COLOUR):
            return []
        counts = sorted((count for count, _ in image.getcolors(_COUNTED) or ()), reverse=True)
        return [count / (image.width * image.height) for count in counts]


def _is_flat_if_rounded(path: Path) -> bool:
    """Whether a few different colours cover most of an image. Similar colours are treated as equal."""
    with open_image(path) as image:
        rounded = (np.asarray(image.convert("RGB")).astype(np.uint32) + _ROUNDED // 2) // _ROUNDED
    counts = np.bincount((rounded @ np.array([1 << 10, 1 << 5, 1], np.uint32)).ravel())
    common = np.argsort(counts)[::-1][:_FEW]
    shares = counts[common] / counts.sum()
    large = common[shares >= _LARGE]
    channels = np.stack([large >> 10, large >> 5 & 31, large & 31])
    return bool(shares.sum() >= _MOST and np.ptp(channels, axis=1).max(initial=0) >= _CONTRAST)


def _is_black_and_white(path: Path) -> bool:
    with open_image(path) as image:
        counts = np.array(image.convert("L").histogram()) / (image.width * image.height)
    black, white = counts[:_ENDS].sum(), counts[-_ENDS:].sum()
    return bool(min(black, white) >= _END_PART and black + white >= _MOST)
