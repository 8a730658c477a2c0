"""Run-length encoding of binary masks, as COCO stores them."""

import numpy as np
from jaxtyping import Bool, Int

_BITS = 5  # of a number in each character
_SIGN, _MORE, _FIRST = 0x10, 0x20, 48  # of a character: the sign of the number, whether another follows, the code of 0


def encode(mask: Bool[np.ndarray, "h w"]) -> dict[str, object]:
    """Encodes a mask as COCO's compressed RLE: `{"size": [h, w], "counts": text}`, which pycocotools reads."""
    return {"size": [*mask.shape], "counts": compress(run_lengths(mask))}


def run_lengths(mask: Bool[np.ndarray, "h w"]) -> Int[np.ndarray, " n"]:
    """The lengths of the runs of equal pixels, column by column. The first run is background, and may have length 0."""
    flat = mask.ravel(order="F")
    starts = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    first = [0, 0] if flat[0] else [0]  # the empty run of background
    return np.diff(np.concatenate([first, starts, [flat.size]]))


def compress(lengths: Int[np.ndarray, " n"]) -> str:
    """Writes run lengths as text: from the fourth on the difference to the last but one, 5 bits a character, lowest first."""
    rest = lengths.astype(np.int64)
    rest[3:] -= lengths[1:-2]
    characters, used = [], []
    active = np.ones(len(rest), bool)
    while active.any():
        bits = rest & (2**_BITS - 1)
        rest = rest >> _BITS  # of a negative number the sign is kept
        more = rest != np.where(bits & _SIGN, -1, 0)
        characters.append(bits + np.where(more, _MORE, 0) + _FIRST)
        used.append(active)
        active = active & more
    return np.stack(characters, 1)[np.stack(used, 1)].astype(np.uint8).tobytes().decode()


def bounding_box(mask: Bool[np.ndarray, "h w"]) -> list[int]:
    """Left, top, width and height of the pixels of a mask that has some."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    left, top = int(columns[0]), int(rows[0])
    return [left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1]
