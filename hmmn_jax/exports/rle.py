"""Run-length encoding (RLE) of binary masks in COCO's format."""

import numpy as np
from jaxtyping import Bool, Int

_BITS = 5  # number of value bits per character
_LONGEST = 8  # maximum index of a character within an encoded number
_SIGN, _MORE, _FIRST = 0x10, 0x20, 48  # sign bit and continuation bit of a character; character code for the value 0


def encode(mask: Bool[np.ndarray, "h w"]) -> dict[str, object]:
    """Encodes a mask as COCO's compressed RLE: `{"size": [h, w], "counts": text}`, which pycocotools reads."""
    return {"size": [*mask.shape], "counts": compress(run_lengths(mask))}


def run_lengths(mask: Bool[np.ndarray, "h w"]) -> Int[np.ndarray, " n"]:
    """The lengths of the runs of equal pixels in column-major order. The first run is background and may have length 0."""
    flat = mask.ravel(order="F")
    starts = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    first = [0, 0] if flat[0] else [0]  # an empty run of background
    return np.diff(np.concatenate([first, starts, [flat.size]]))


def compress(lengths: Int[np.ndarray, " n"]) -> str:
    """Encodes run lengths as text.

    Starting with the fourth length, the stored value is the difference from the length two positions earlier. Each character
    encodes 5 bits of a number, starting with the lowest bits.
    """
    rest = lengths.astype(np.int64)
    rest[3:] -= lengths[1:-2]
    characters, used = [], []
    active = np.ones(len(rest), bool)
    while active.any():
        bits = rest & (2**_BITS - 1)
        rest = rest >> _BITS  # sign extension of negative numbers
        more = rest != np.where(bits & _SIGN, -1, 0)
        characters.append(bits + np.where(more, _MORE, 0) + _FIRST)
        used.append(active)
        active = active & more
    return np.stack(characters, 1)[np.stack(used, 1)].astype(np.uint8).tobytes().decode()


def bounding_box(mask: Bool[np.ndarray, "h w"]) -> list[int]:
    """The bounding box of a non-empty mask: left, top, width and height."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    left, top = int(columns[0]), int(rows[0])
    return [left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1]


def decode(counts: str, height: int, width: int) -> Bool[np.ndarray, "h w"]:
    """Decodes COCO's compressed RLE, the inverse of `encode`. Raises ValueError if `counts` is not an RLE of the given size."""
    codes = np.frombuffer(counts.encode(), np.uint8).astype(np.int64) - _FIRST
    if len(codes) == 0 or codes.min() < 0 or codes.max() > 2 * _MORE - 1 or codes[-1] & _MORE:
        raise ValueError(f"the counts {counts[:20]!r} are not a compressed RLE")
    ends = np.flatnonzero(codes & _MORE == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    place = np.arange(len(codes)) - np.repeat(starts, ends - starts + 1)
    if place.max() > _LONGEST:
        raise ValueError(f"the counts {counts[:20]!r} contain a number that is too large")
    lengths = np.add.reduceat((codes & (2**_BITS - 1)) << (_BITS * place), starts)
    lengths -= np.where(codes[ends] & _SIGN, 1 << (_BITS * (place[ends] + 1)), 0)
    for first in (1, 2):  # starting with the fourth, each number is the difference from the number two positions earlier
        lengths[first::2] = np.cumsum(lengths[first::2])
    if lengths.min() < 0 or lengths.sum() != height * width:
        raise ValueError(f"the runs contain {lengths.sum()} pixels, expected {height}x{width}")
    values = np.arange(len(lengths)) % 2 == 1
    return np.repeat(values, lengths).reshape(width, height).T
