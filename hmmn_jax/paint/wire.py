"""The format in which the server and the page exchange masks: gzip-compressed ids in row-major order."""

import gzip
import zlib

import numpy as np
from jaxtyping import Bool, Integer


def most_bytes(size: tuple[int, int]) -> int:
    """Returns the maximum size in bytes of a compressed mask with unknown pixels, even if the data is incompressible."""
    height, width = size
    return 3 * height * width + height * width // 512 + 4096


def encode(mask: Integer[np.ndarray, "H W"]) -> tuple[bytes, str]:
    """Compresses a mask. Returns the compressed bytes and the dtype of the ids: "uint8" or "uint16" (little-endian)."""
    name = "uint8" if mask.dtype == np.uint8 else "uint16"
    return gzip.compress(np.ascontiguousarray(mask, np.dtype(name).newbyteorder("<")).tobytes(), 1, mtime=0), name


def decode(
    body: bytes, size: tuple[int, int], with_unknown: bool
) -> tuple[Integer[np.ndarray, "H W"], Bool[np.ndarray, "H W"] | None]:
    """Decodes a mask from a page, without decompressing more bytes than a valid mask can have.

    Args:
        body: gzip-compressed ids. The dtype of the ids, uint8 or uint16, follows from the number of bytes.
        size: height and width.
        with_unknown: whether H*W bytes follow the ids. A nonzero byte means that the model decides the id of the pixel.

    Returns:
        The ids, and the pixels whose ids the model decides (None if `with_unknown` is False).

    Raises:
        ValueError: the data is not gzip-compressed, or has the wrong size.
    """
    pixels = size[0] * size[1]
    extra = pixels if with_unknown else 0
    try:
        reader = zlib.decompressobj(wbits=31)
        raw = reader.decompress(body, 2 * pixels + extra + 1)
    except zlib.error as error:
        raise ValueError("the mask is not a gzip file") from error
    if len(raw) not in (pixels + extra, 2 * pixels + extra) or not reader.eof:
        expected = f"{pixels + extra} or {2 * pixels + extra} bytes for {size[1]}x{size[0]} pixels"
        raise ValueError(f"the mask is truncated or has the wrong size ({len(raw)} bytes or more), expected {expected}")
    wide = len(raw) > pixels + extra
    mask = np.frombuffer(raw, "<u2" if wide else np.uint8, pixels).reshape(size)
    if wide:
        mask = mask.astype(np.uint16) if mask.max() > 255 else mask.astype(np.uint8)
    unknown = np.frombuffer(raw, np.uint8)[-pixels:].reshape(size) != 0 if with_unknown else None
    return mask, unknown
