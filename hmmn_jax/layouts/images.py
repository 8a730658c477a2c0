"""Images and masks on disk: frames as RGB, masks as object ids, whatever the files store."""

import contextlib
import io
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Integer, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from hmmn_jax.errors import DataError
from hmmn_jax.layouts.files import atomic_path, reason
from hmmn_jax.layouts.palette import davis_palette

VOID = 255
_PNG_BITS = 24  # where a PNG says the bits of a value


def read_image(path: str | os.PathLike) -> UInt8[np.ndarray, "h w 3"]:
    """Reads a JPEG, PNG or any other image that Pillow knows, of any mode, as RGB, upright as its EXIF data say.

    Raises DataError for a file that is missing, empty, truncated or no image.
    """
    with _reading_errors(path), Image.open(path) as file:
        image = ImageOps.exif_transpose(file)
        if image.mode.startswith("I;16"):  # which Pillow would clip at 255
            return np.repeat((np.asarray(image) >> 8).astype(np.uint8)[..., None], 3, axis=2)
        if image.mode in ("I", "F"):
            raise DataError(f"{path}: pixels of 32 bits, whose white is unknown; save the image with 8 bits a channel")
        return np.array(image.convert("RGB"))


def read_mask(path: str | os.PathLike) -> UInt8[np.ndarray, "h w"]:
    """Reads a PNG as object ids, 0 being background: `read_ids`, settled as `settle_ids` does."""
    return settle_ids(read_ids(path))


def read_ids(path: str | os.PathLike) -> UInt8[np.ndarray, "h w"]:
    """Reads a PNG as object ids, 0 being background, with 255 as it is.

    Indexed, grey and one-bit files hold ids as they are; 16-bit ones too if none exceeds 255. In colour files every pixel
    must be black, white or a colour of the DAVIS palette. Raises DataError for any other file.
    """
    with _reading_errors(path):
        return decode_mask(Path(path).read_bytes(), path)


def decode_mask(png: bytes, source: str | os.PathLike, soft: bool = False) -> UInt8[np.ndarray, "h w"]:
    """Decodes the bytes of a PNG to the values that it holds, nothing settled; `source` is the file to name.

    Values are ids, as `read_mask` says, or with `soft` grey levels from 0 to 255, whatever the colours and bits.
    Raises DataError.
    """
    with _reading_errors(source), Image.open(io.BytesIO(png)) as image:
        if image.format != "PNG":
            raise DataError(
                f"{source}: a mask in {image.format} format; only PNG is sure to keep ids: make the mask anew as PNG"
            )
        pixels = np.asarray(image)
        if image.mode in ("LA", "RGBA"):
            if (pixels[..., -1] != 255).any():
                raise DataError(f"{source}: a mask with transparent pixels; save it as an indexed PNG without transparency")
            pixels = pixels[..., 0] if image.mode == "LA" else pixels[..., :3]
        if soft:
            wide = image.mode.startswith("I")
            return (pixels >> 8).astype(np.uint8) if wide else np.array(image.convert("L"))
        if image.mode == "L" and (bits := png[_PNG_BITS]) < 8:  # which Pillow stretches to 255
            pixels = pixels // (255 // (2**bits - 1))
        ids = _ids_of_colours(pixels, source) if pixels.ndim == 3 else pixels
        if ids.max() > 255:
            raise DataError(f"{source}: a mask with the value {ids.max()}; expected ids from 0 to 255, in an 8-bit PNG")
        return ids.astype(np.uint8)


def settle_ids(ids: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    """Settles what 255 means: the one object, as id 1, where there is no other id (DAVIS-2016); else void, given as 0."""
    void = ids == VOID
    if np.any((ids > 0) & ~void):
        return np.where(void, np.uint8(0), ids)
    return void.astype(np.uint8)


def fit_mask(mask: UInt8[np.ndarray, "h1 w1"], height: int, width: int, source: str | os.PathLike) -> UInt8[np.ndarray, "h w"]:
    """Gives a mask of the size of its frame; `source` is the file to name.

    A mask one pixel larger or smaller, which real data sets have, is resized to the nearest pixel with a warning.
    Raises DataError for a greater difference.
    """
    if mask.shape == (height, width):
        return mask
    sizes = f"{source}: the mask has {mask.shape[1]}x{mask.shape[0]} pixels, its frame {width}x{height}"
    if max(abs(mask.shape[0] - height), abs(mask.shape[1] - width)) > 1:
        raise DataError(f"{sizes}; give a mask made for this frame, of its size")
    warnings.warn(f"{sizes}: resized", stacklevel=2)
    return mask[np.ix_(_nearest(height, mask.shape[0]), _nearest(width, mask.shape[1]))]


def write_mask(path: str | os.PathLike, ids: UInt8[np.ndarray, "h w"]) -> None:
    """Writes ids as an indexed PNG with the DAVIS palette, whole or not at all. Raises DataError where that fails."""
    image = Image.fromarray(ids)
    image.putpalette(davis_palette().tobytes())
    with atomic_path(path) as temporary:
        image.save(temporary, format="PNG")


def _nearest(length: int, stored: int) -> Integer[np.ndarray, " length"]:
    return (2 * np.arange(length) + 1) * stored // (2 * length)


def _ids_of_colours(rgb: UInt8[np.ndarray, "h w 3"], path: str | os.PathLike) -> Integer[np.ndarray, "h w"]:
    """Finds each pixel's id by its colour: black 0, white 255, the palette's colours theirs."""
    palette = davis_palette().astype(int)
    # The files of DAVIS-2017 have 191 where the rule gives 192.
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
        raise DataError(
            f"{path}: a mask with {count} outside the DAVIS palette, as {unknown[0]}; save ids in an indexed or grey PNG"
        )
    return np.array([ids[colour] for colour in found])[index].reshape(rgb.shape[:2])


@contextlib.contextmanager
def _reading_errors(path: str | os.PathLike) -> Iterator[None]:
    """Turns whatever a missing or damaged image provokes into a DataError."""
    try:
        yield
    except DataError:
        raise
    except UnidentifiedImageError as error:
        found = "an empty file" if not os.path.isfile(path) or os.path.getsize(path) == 0 else "not an image of a known kind"
        raise DataError(f"{path}: {found}; expected a JPEG or PNG") from error
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise DataError(f"{path}: cannot be read: {reason(error)}; check the path") from error
    except Image.DecompressionBombError as error:
        raise DataError(f"{path}: cannot be read: too many pixels ({reason(error)}); give a smaller image") from error
    except Exception as error:  # each decoder raises its own kinds
        raise DataError(f"{path}: a damaged image ({reason(error)}); copy or export it again") from error
