"""Checks the headers of frames before a run, so that frames that cannot be segmented are reported immediately."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hmmn_jax.errors import DataError
from hmmn_jax.io.notes import Notes
from hmmn_jax.io.pixels import has_16_bits, open_image, orientation, require_known_white, upright_size
from hmmn_jax.io.stray_masks import require_no_masks

PAGED = ("GIF", "PNG", "TIFF", "WEBP")  # additional pages in other formats, such as in a JPEG from a phone, are not frames
TURNED = "frames are rotated upright by their EXIF orientation, and masks must be drawn on the upright frames"


@dataclass(frozen=True)
class FrameFacts:
    """Properties of the frames of a video.

    Attributes:
        width, height: size of each upright frame, in pixels.
        turned: number of frames with an EXIF orientation other than 1.
        sixteen: number of 16-bit grey frames.
    """

    width: int
    height: int
    turned: int = 0
    sixteen: int = 0


@dataclass(frozen=True)
class Header:
    """Properties of one image, read from its header. `size` is (width, height) of the upright image."""

    path: Path
    format: str
    mode: str
    size: tuple[int, int]
    turned: bool
    sixteen: bool


def inspect_frames(paths: Iterable[Path], notes: Notes | None = None) -> FrameFacts:
    """Reads the headers of the frames of a video.

    Args:
        paths: at least one file.
        notes: collects remarks on frames with an EXIF orientation and on frames with unusual names.

    Raises:
        DataError: a file is not an image, has several pages or 32 bits per channel, or looks like a mask.
        DataError: the frames differ in size, or 8-bit and 16-bit grey frames are mixed.
    """
    headers = [read_header(path) for path in paths]
    facts = check_headers(headers, notes)
    require_no_masks([(header.path, header.format, header.mode) for header in headers], notes)
    require_one_depth(headers)
    return facts


def read_header(path: Path, page: int | None = None) -> Header:
    """Reads the header of an image or, if `page` is given, of one page of the image.

    Raises DataError on failure, or if `page` is None and the image has several pages.
    """
    with open_image(path, page) as image:
        pages = getattr(image, "n_frames", 1) if image.format in PAGED and page is None else 1
        if pages > 1:
            way_out = "Pass the image as the video, or save each page as a file"
            raise DataError(f"{path}: the image has {pages} pages, expected one frame. {way_out}")
        require_known_white(image, path)
        sixteen = has_16_bits(image) and image.mode.startswith("I")
        turned = orientation(image, path)
        return Header(path, str(image.format), image.mode, upright_size(image, turned), turned != 1, sixteen)


def check_headers(headers: list[Header], notes: Notes | None) -> FrameFacts:
    """Combines the properties of all frames. Raises DataError if the sizes differ."""
    first = headers[0]
    if odd := [header for header in headers if header.size != first.size]:
        count = f"The size of {len(odd)} of {len(headers)} frames differs from that of the first frame"
        raise DataError(f"{other_size(odd[0].path, odd[0].size, first.path, first.size)}. {count}")
    turned = [header for header in headers if header.turned]
    if notes is not None:
        for header in turned:
            notes.add(TURNED, "frames", str(header.path))
    return FrameFacts(*first.size, len(turned), sum(header.sixteen for header in headers))


def require_one_depth(headers: list[Header]) -> None:
    """Raises DataError if 16-bit and 8-bit grey images are mixed, because only 16-bit images are scaled by their range."""
    wide = [header for header in headers if header.sixteen]
    narrow = [header for header in headers if header.mode in ("L", "LA")]
    if wide and narrow:
        count = f"{len(wide)} grey frames have 16 bits per pixel, and {len(narrow)} have 8, in a video of {len(headers)} frames"
        found = f"the frame has 16 bits per pixel, but {narrow[0].path.name} has 8"
        raise DataError(f"{wide[0].path}: {found}. {count}. Save all frames with the same number of bits")


def other_size(path: Path, size: tuple[int, int], first: Path, first_size: tuple[int, int]) -> str:
    """Returns the error message for a frame whose size differs from that of the first frame. Sizes are (width, height)."""
    sizes = f"the frame has {size[0]}x{size[1]} pixels, but {first.name} has {first_size[0]}x{first_size[1]}"
    return f"{path}: {sizes}. Resize the frame, or move it elsewhere"
