"""Decodes image files to RGB, or to the values of 16-bit grey images. Rotates images upright according to EXIF data."""

import contextlib
import os
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from hmmn_jax.errors import DataError, HMMNError
from hmmn_jax.io.files import local_path, reason

ORIENTATION = 274  # the EXIF tag for the orientation
_SWAPPING = (5, 6, 7, 8)  # orientations that swap height and width
_LEAST_LEVELS = 32  # minimum number of levels in a 16-bit colour image; only the upper 8 bits of such an image are read


class Pixels(NamedTuple):
    """Decoded pixels of an image.

    Attributes:
        values: RGB as `uint8 [h,w,3]`, or the values of a 16-bit grey image as `int32 [h,w]`.
        sixteen: whether the file has 16 bits per channel.
    """

    values: UInt8[np.ndarray, "h w 3"] | Int[np.ndarray, "h w"]
    sixteen: bool

    @property
    def range(self) -> tuple[int, int]:
        """The smallest and the largest value."""
        return int(self.values.min()), int(self.values.max())


@contextlib.contextmanager
def open_image(path: str | os.PathLike, page: int | None = None) -> Iterator[ImageFile]:
    """Opens an image, or one page of it, and reads the header. Converts any error in the `with` block to a DataError."""
    with reading_errors(path), Image.open(local_path(path)) as image:
        if page is not None:
            image.seek(page)
        yield image


def decode(image: ImageFile, path: str | os.PathLike) -> Pixels:
    """Decodes an open image of any mode. Raises DataError for 32-bit channels. `path` is the file name to show in errors."""
    require_known_white(image, path)
    sixteen = has_16_bits(image)
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I"):
        return Pixels(np.asarray(upright).astype(np.int32), sixteen)
    return Pixels(np.array(upright.convert("RGB")), sixteen)


def to_rgb(pixels: Pixels, value_range: tuple[int, int], path: str | os.PathLike) -> UInt8[np.ndarray, "h w 3"]:
    """Converts 16-bit pixels to 8-bit RGB.

    Args:
        pixels: pixels of one image; 8-bit pixels are returned unchanged.
        value_range: the minimum and maximum value of the image or of the whole video. In a grey image, the minimum and the
            maximum are mapped to 0 and 255. A colour image is not scaled, because only its upper 8 bits are known.
        path: the file name to show in errors.

    Raises:
        DataError: a colour image has fewer than 32 levels in its upper 8 bits.
    """
    if not pixels.sixteen:
        return pixels.values
    low, high = value_range
    if pixels.values.ndim == 2:
        scaled = (np.clip(pixels.values, low, high) - low) * (255 / max(high - low, 1))
        return np.repeat(np.rint(scaled).astype(np.uint8)[..., None], 3, axis=2)
    if (levels := high - low + 1) < _LEAST_LEVELS:
        found = f"only {levels} of 256 levels would remain in this 16-bit colour image after conversion to 8 bits"
        raise DataError(f"{path}: {found}. Scale the values to the full range, and save the images with 8 bits per channel")
    return pixels.values


def has_16_bits(image: ImageFile) -> bool:
    """Returns whether an open image that has not been decoded yet has 16 bits per channel."""
    arguments = image.tile[0].args if image.tile else ()
    kind, *rest = (arguments if isinstance(arguments, tuple) else (arguments,)) or ("",)
    greatest = max((value for value in rest if isinstance(value, int)), default=0) if image.format == "PPM" else 0
    return image.mode.startswith("I;16") or ";16" in str(kind) or greatest > 255


def require_known_white(image: ImageFile, path: str | os.PathLike) -> None:
    """Raises DataError for an open image with 32 bits per channel, because its white level is unknown."""
    if image.mode == "F" or (image.mode == "I" and not has_16_bits(image)):
        raise DataError(f"{path}: the white level of 32-bit pixels is unknown. Save the image with 8 bits per channel")


def orientation(image: Image.Image, path: str | os.PathLike) -> int:
    """Reads the EXIF orientation of an open image, from 1 to 8, without decoding the image."""
    # For a PNG, Pillow would decode all pixels, because EXIF data may follow the pixels.
    lazy = image.format == "PNG" and not _has_late_exif(path)
    found = (Image.Image.getexif(image) if lazy else image.getexif()).get(ORIENTATION, 1)
    return found if found in range(1, 9) else 1


def upright_size(image: Image.Image, turned: int) -> tuple[int, int]:
    """Returns the width and height of an open image after it is rotated according to the EXIF orientation `turned`."""
    width, height = image.size  # for a TIFF, Pillow returns the size of the upright image
    return (height, width) if turned in _SWAPPING and image.format != "TIFF" else (width, height)


def _has_late_exif(path: str | os.PathLike) -> bool:
    with local_path(path).open("rb") as file:
        file.seek(8)
        while len(head := file.read(8)) == 8 and head[4:] != b"IEND":
            if head[4:] == b"eXIf":
                return True
            file.seek(int.from_bytes(head[:4], "big") + 4, os.SEEK_CUR)
    return False


@contextlib.contextmanager
def reading_errors(path: str | os.PathLike) -> Iterator[None]:
    """Converts any error caused by a missing or damaged image to a DataError."""
    try:
        yield
    except HMMNError:
        raise
    except UnidentifiedImageError as error:
        is_empty = not os.path.isfile(path) or os.path.getsize(path) == 0
        found = "the file is empty" if is_empty else "the file is not an image in a known format"
        raise DataError(f"{path}: {found}, expected a JPEG or PNG") from error
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise DataError(f"{path}: the file cannot be read: {reason(error)}. Check the path") from error
    except Image.DecompressionBombError as error:
        raise DataError(f"{path}: the image has too many pixels ({reason(error)}). Pass a smaller image") from error
    except Exception as error:  # each decoder raises its own exception types
        raise DataError(f"{path}: the image is damaged ({reason(error)}). Copy or export it again") from error
