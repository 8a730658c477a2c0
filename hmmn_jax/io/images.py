"""Reads images as RGB and masks as object ids, and writes masks."""

import contextlib
import io
import os
import warnings
from collections.abc import Iterable

import numpy as np
from jaxtyping import Integer, UInt8
from PIL import Image

from hmmn_jax.errors import ConfigError, DataError
from hmmn_jax.io.files import atomic_path, local_path
from hmmn_jax.io.levels import looks_like_levels
from hmmn_jax.io.palette import davis_palette
from hmmn_jax.io.pixels import decode, open_image, reading_errors, to_rgb

VOID = 255
MASK_VALUES = ("ids", "threshold")
_THRESHOLD = 128  # minimum grey level of an object
_TOLD_BY = 4  # a palette is considered the DAVIS palette if this many of its first colours match
_PNG_BITS = 24  # byte offset of the bit depth in a PNG


def read_image(path: str | os.PathLike) -> UInt8[np.ndarray, "h w 3"]:
    """Reads an image as RGB, in any format and mode that Pillow supports. EXIF orientation is applied.

    A 16-bit grey image is scaled by its own range of values. `ImageVideo` scales all frames of a video by a common range.

    Raises:
        DataError: the file cannot be read as an image, has 32 bits per channel, or is a 16-bit colour image with fewer than 32
            levels in its upper 8 bits.
    """
    with open_image(path) as image:
        pixels = decode(image, path)
    return to_rgb(pixels, pixels.range, path) if pixels.sixteen else pixels.values


def read_mask(path: str | os.PathLike, values: str = "", check_levels: bool = False) -> UInt8[np.ndarray, "h w"]:
    """Reads a PNG as object ids, where 0 is the background. `settle_ids` replaces the value 255."""
    return settle_ids(read_ids(path, values, check_levels))


def read_ids(
    path: str | os.PathLike, values: str = "", check_levels: bool = False, most: int = 255
) -> Integer[np.ndarray, "h w"]:
    """Reads a PNG as object ids, where 0 is the background. The id 255 is kept as it is. See `decode_mask` for arguments."""
    with reading_errors(path):
        return decode_mask(local_path(path).read_bytes(), path, values=values, check_levels=check_levels, most=most)


def decode_mask(
    png: bytes, source: str | os.PathLike, soft: bool = False, values: str = "", check_levels: bool = False, most: int = 255
) -> Integer[np.ndarray, "h w"]:
    """Decodes the bytes of a PNG to object ids or grey levels. The id 255 is kept as it is.

    By default, the values of indexed, grey, one-bit and 16-bit files are ids, and must not exceed `most`. In colour files,
    every pixel must be black, white or a colour in the DAVIS palette. An indexed file is treated as a colour file if some
    pixels are black, but the first colour of the palette is not black.

    Args:
        png: the content of the file.
        source: the file name to show in errors.
        soft: whether to return grey levels from 0 to 255 instead of ids, for any colours and any bit depth.
        values: how to interpret the file. With "", the default rules apply. With "ids", an indexed file is never treated as a
            colour file. With "threshold", levels of 128 and above are object 1 in files that use only greys.
        check_levels: whether to reject a file that seems to contain grey levels instead of ids, if `values` is "".
        most: the largest allowed id.

    Returns:
        A uint8 array, or a uint16 array if an id is above 255.

    Raises:
        ConfigError: `values` is unknown.
        DataError: the file is not a PNG, has transparent pixels, or contains a colour or value that is not an id. With
            `check_levels`, a file that seems to contain grey levels is an error. If `values` is "threshold", a colour file
            that is not indexed is an error.
    """
    if values not in ("", *MASK_VALUES):
        raise ConfigError(f"mask_values is {values!r}, expected {' or '.join(MASK_VALUES)}, or ''")
    with reading_errors(source), Image.open(io.BytesIO(png)) as image:
        if image.format != "PNG":
            raise DataError(f"{source}: the mask is in {image.format} format, expected PNG. Save the mask as a PNG")
        pixels = np.asarray(image)
        if image.mode in ("LA", "RGBA"):
            if (pixels[..., -1] != 255).any():
                raise DataError(
                    f"{source}: the mask has transparent pixels. Save the mask as an indexed PNG without transparency"
                )
            pixels = pixels[..., 0] if image.mode == "LA" else pixels[..., :3]
        if soft:
            wide = image.mode.startswith("I")
            image.info.pop("transparency", None)  # avoids a warning from Pillow; grey levels do not depend on transparency
            return (pixels >> 8).astype(np.uint8) if wide else np.array(image.convert("L"))
        levels = _levels_of_palette(pixels, image) if image.mode == "P" else None
        if values == "threshold" and (image.mode != "P" or levels is not None):
            return _threshold(pixels, image.mode, source) if levels is None else _threshold(levels, "L", source)
        if check_levels and not values and levels is not None:
            _require_no_levels(levels, source)
        if image.mode == "L" and (bits := png[_PNG_BITS]) < 8:  # Pillow scales 2-bit and 4-bit values to 0..255
            pixels = pixels // (255 // (2**bits - 1))
        if image.mode == "P" and values != "ids" and _is_drawn_in_colour(pixels, image):
            pixels = np.asarray(image.convert("RGB"))
        ids = _ids_of_colours(pixels, source) if pixels.ndim == 3 else pixels
        if ids.max() > most:
            raise DataError(f"{source}: the mask contains the value {ids.max()}, expected ids from 0 to {most}")
        if ids.max() > 255:
            return ids.astype(np.uint16)
        ids = ids.astype(np.uint8)
        if check_levels and not values and image.mode not in ("P", "RGB", "RGBA"):
            _require_no_levels(ids, source)
        return ids


def settle_ids(ids: Integer[np.ndarray, "h w"], binary: bool | None = None) -> Integer[np.ndarray, "h w"]:
    """Replaces the value 255, which marks an object or void pixels.

    If 255 is the only nonzero value (as in DAVIS-2016), it is an object and becomes 1. Otherwise, 255 marks void pixels, which
    become 0. In uint16 masks, which contain ids above 255, the value 255 is an ordinary id.

    Args:
        ids: the ids of one mask.
        binary: whether 255 is the only object of the video (see `is_binary`). By default, only this mask is checked.
    """
    if ids.dtype != np.uint8:
        return ids
    void = ids == VOID
    if binary is None:
        binary = not np.any((ids > 0) & ~void)
    return np.where(void, np.uint8(binary), ids)


def is_binary(masks: Iterable[UInt8[np.ndarray, "h w"]]) -> bool:
    """Whether 255 is the only object of a video, that is, whether none of the masks contains another id."""
    return not any(np.any((ids > 0) & (ids < VOID)) for ids in masks)


def read_mask_size(path: str | os.PathLike) -> tuple[int, int]:
    """Reads the height and width of a mask from the file's header. Raises DataError if the file is not an image."""
    with reading_errors(path), Image.open(path) as image:
        return image.height, image.width


def is_wide(path: str | os.PathLike) -> bool:
    """Whether the header of a PNG specifies 16 bits per value; False if the file cannot be read."""
    with contextlib.suppress(DataError), reading_errors(path), Image.open(path) as image:
        return image.mode.startswith("I")
    return False


def require_fit(size: tuple[int, ...], height: int, width: int, source: str | os.PathLike, exif: bool = False) -> str:
    """Raises DataError if a mask differs from its frame by more than one pixel in height or width.

    If the mask fits, returns a description of the two sizes.
    """
    sizes = f"{source}: the mask has {size[1]}x{size[0]} pixels, but its frame has {width}x{height}"
    if max(abs(size[0] - height), abs(size[1] - width)) <= 1:
        return sizes
    if exif and max(abs(size[1] - height), abs(size[0] - width)) <= 1:
        sizes += " after the EXIF orientation is applied"
        raise DataError(f"{sizes}. Draw the mask on the upright frame, or rotate the frames and remove their EXIF data")
    raise DataError(f"{sizes}. Pass a mask with the size of its frame")


def fit_mask(
    mask: Integer[np.ndarray, "h1 w1"], height: int, width: int, source: str | os.PathLike, exif: bool = False
) -> Integer[np.ndarray, "h w"]:
    """Returns a mask that has the same size as its frame.

    In some data sets, masks differ from their frames by one pixel. These masks are resized (nearest neighbour) with a warning.

    Args:
        mask: the object ids.
        height: height of the frame, in pixels.
        width: width of the frame, in pixels.
        source: the file name to show in errors.
        exif: whether the frame was rotated by its EXIF orientation.

    Raises:
        DataError: the sizes differ by more than one pixel.
    """
    if mask.shape == (height, width):
        return mask
    sizes = require_fit(mask.shape, height, width, source, exif)
    warnings.warn(f"{sizes}. The mask is resized", stacklevel=2)
    return mask[np.ix_(_nearest(height, mask.shape[0]), _nearest(width, mask.shape[1]))]


def write_mask(path: str | os.PathLike, ids: Integer[np.ndarray, "h w"]) -> None:
    """Atomically writes uint8 ids to an indexed PNG with the DAVIS palette, or uint16 ids to a 16-bit grey PNG.

    Raises DataError on failure.
    """
    image = Image.fromarray(ids)
    if ids.dtype == np.uint8:
        image.putpalette(davis_palette().tobytes())
    with atomic_path(path) as temporary:
        image.save(temporary, format="PNG")


def _nearest(length: int, stored: int) -> Integer[np.ndarray, " length"]:
    return (2 * np.arange(length) + 1) * stored // (2 * length)


def _ids_of_colours(rgb: UInt8[np.ndarray, "h w 3"], path: str | os.PathLike) -> Integer[np.ndarray, "h w"]:
    """Returns the id of each pixel: 255 for white, otherwise the index of the colour in the DAVIS palette."""
    palette = davis_palette().astype(int)
    # The palette in DAVIS-2017 files contains 191 instead of 192.
    ids = {
        tuple(colour): i
        for table in (palette, np.where(palette == 192, 191, palette))
        for i, colour in enumerate(table.tolist())
    }
    ids[255, 255, 255] = VOID
    colours, index = np.unique(rgb.reshape(-1, 3), axis=0, return_inverse=True)
    found = [tuple(colour) for colour in colours.tolist()]
    if unknown := [colour for colour in found if colour not in ids]:
        count = f"{len(unknown)} colours" if len(unknown) > 1 else "a colour"
        described = f"the mask has {count} outside the DAVIS palette, such as {unknown[0]}"
        raise DataError(f"{path}: {described}. Save ids in an indexed or grey PNG")
    return np.array([ids[colour] for colour in found])[index].reshape(rgb.shape[:2])


def _threshold(pixels: np.ndarray, mode: str, source: str | os.PathLike) -> UInt8[np.ndarray, "h w"]:
    if mode not in ("1", "L", "LA") and not mode.startswith("I"):
        raise DataError(f"{source}: mask_values=threshold requires a grey mask, but the mask is in colour. Save a grey mask")
    if mode.startswith("I") and pixels.max() > 255:
        found = f"the mask contains the value {pixels.max()}, expected levels from 0 to 255"
        raise DataError(f"{source}: {found}. Save the mask as an 8-bit PNG")
    return (pixels if mode == "1" else pixels >= _THRESHOLD).astype(np.uint8)


def _levels_of_palette(pixels: UInt8[np.ndarray, "h w"], image: Image.Image) -> UInt8[np.ndarray, "h w"] | None:
    """The grey levels of an indexed image; None if a colour in use is not grey, or if the palette is the DAVIS palette."""
    palette = _palette_of(image)
    shared = min(len(palette), _TOLD_BY)
    if pixels.max() >= len(palette) or np.array_equal(palette[:shared], davis_palette()[:shared]):
        return None
    used = palette[np.unique(pixels)]
    return palette[pixels, 0] if (used == used[:, :1]).all() else None


def _palette_of(image: Image.Image) -> UInt8[np.ndarray, "n 3"]:
    """The colours of an indexed image."""
    return np.reshape(image.getpalette("RGB") or [], (-1, 3)).astype(np.uint8)


def _require_no_levels(values: UInt8[np.ndarray, "h w"], source: str | os.PathLike) -> None:
    if looks_like_levels(values):
        found = f"{len(np.unique(values))} grey values that look like smooth edges, not like ids of objects"
        way_out = (
            "Save ids without smoothing, or set mask_values. mask_values=threshold treats levels of 128 and above as one "
            "object. mask_values=ids treats each value as an object"
        )
        raise DataError(f"{source}: the mask contains {found}. {way_out}")


def _is_drawn_in_colour(pixels: UInt8[np.ndarray, "h w"], image: Image.Image) -> bool:
    """Whether an indexed image is treated as a colour image.

    True if some pixels are black, but the first colour of the palette is not black.
    """
    palette = _palette_of(image)
    used = np.unique(pixels)
    used = used[used < len(palette)]
    return bool(palette[0].any() and not palette[used].any(axis=1).all())
