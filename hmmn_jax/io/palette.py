"""The palette that DAVIS and PASCAL VOC use for masks."""

import numpy as np
from jaxtyping import Integer, UInt8


def davis_palette() -> UInt8[np.ndarray, "256 3"]:
    """Returns the RGB colour of every object id; id 0, the background, is black.

    Bits 0, 3 and 6 of an id are the three highest bits of red. Bits 1, 4 and 7 of an id are the three highest bits of green.
    Bits 2 and 5 of an id are the two highest bits of blue. Lower bits of the id become higher bits of the colour, so that small
    ids have very different colours.
    """
    bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")  # axes [id, bit], lowest bit first
    bits = np.pad(bits, ((0, 0), (0, 1))).reshape(256, 3, 3)  # axes [id, significance in the colour, channel]
    shifts = np.array([7, 6, 5], np.uint8)[:, None]
    return (bits << shifts).sum(axis=1, dtype=np.uint8)


def palette_index(ids: Integer[np.ndarray, "*s"]) -> UInt8[np.ndarray, "*s"]:
    """Returns the palette index of each id. Ids up to 255 are unchanged, and larger ids repeat the indices 1 to 255."""
    return ids if ids.dtype == np.uint8 else np.where(ids == 0, 0, (ids.astype(np.int64) - 1) % 255 + 1).astype(np.uint8)
