"""Reads and decodes the images and masks of frames in `Tables`. Python reads the bytes, and TensorFlow decodes them."""

import io
import struct
import zlib
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from PIL import Image

from data.clips.tables import Tables
from data.source import Source

_MARGIN = 2  # number of pixels around a window that interpolation needs
_SIGNATURE, _GREY, _INDEXED = 8, 0, 3  # length of the PNG signature in bytes; two PNG colour types
_FLIPPED, _TRANSPOSED = (
    ((2, 3, 6, 7), (3, 4, 7, 8)),
    5,
)  # the EXIF orientations that are flipped along x and along y; the first orientation that is transposed


class Fetcher:
    """Reads the encoded images and masks of frames in `Tables`. `tf.numpy_function` runs the Python code."""

    def __init__(self, sources: Sequence[Source], tables: Tables):
        self.sources, self.tables = sources, tables
        self.recent: deque[int] = deque(maxlen=1024)  # recently read frames, so that errors can name the damaged file

    def __call__(self, frames: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Reads the frames with the given indices in `Tables`, int32 [s]. For the index -1, the JPEG and PNG are empty strings.

        Returns the JPEGs [s], the PNGs [s], and tables, uint8 [s,256], that map the values of each mask to object ids.
        TensorFlow decodes the PNGs to raw values.
        """
        images, masks, ids = tf.numpy_function(self._fetch, [frames], (tf.string, tf.string, tf.uint8), stateful=False)
        slots = frames.shape[0]
        return tf.ensure_shape(images, [slots]), tf.ensure_shape(masks, [slots]), tf.ensure_shape(ids, [slots, 256])

    def _fetch(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        images, masks = np.full(len(frames), b"", object), np.full(len(frames), b"", object)
        ids = np.zeros((len(frames), 256), np.uint8)
        sets = np.searchsorted(self.tables.set_frame, frames, side="right") - 1
        for which in np.unique(sets[frames >= 0]):
            slots = np.flatnonzero(sets == which)
            source, records = self.sources[which], self.tables.record[frames[slots]]
            self.recent.extend(frames[slots].tolist())
            for slot, record, image, mask in zip(slots, records, *source.fetch(records), strict=True):
                images[slot] = image
                masks[slot], ids[slot] = readable_mask(source, int(record), mask)
        return images, masks, ids

    def name(self, frame: int) -> str:
        """Returns the name of a frame in `Tables`, in the form SET/VIDEO/FRAME."""
        which = int(np.searchsorted(self.tables.set_frame, frame, side="right")) - 1
        index, record = self.sources[which].index, int(self.tables.record[frame])
        return f"{self.sources[which].name}/{index.videos[index.video_of(record)]}/{index.names[record]}"


def readable_mask(source: Source, record: int, png: bytes) -> tuple[bytes, np.ndarray]:
    """Returns a PNG from which TensorFlow decodes raw values, and the object id of each value, uint8 [256].

    TensorFlow converts indexed files to colours, and libpng scales values of 1, 2 and 4 bits to 8 bits. To preserve the
    indices, the header of an indexed file is changed to that of a greyscale file. The returned array maps the scaled values to
    object ids. Files that TensorFlow cannot decode to raw values are decoded here and re-encoded. Indexed files whose first
    colour is not black are also re-encoded, because their colours may define the ids.
    """
    index = source.index
    video = index.video_of(record)
    bits, colour = png[24], png[25]
    plain = bits == 8 and colour == _GREY if index.soft else bits <= 8 and colour in (_GREY, _INDEXED)
    if not plain or (colour == _INDEXED and _first_colour(png) != bytes(3)):
        buffer = io.BytesIO()
        Image.fromarray(index.decode(video, png)).save(buffer, "PNG", compress_level=1)
        return buffer.getvalue(), np.arange(256, dtype=np.uint8)
    table = index.table(video)
    if bits < 8:
        table = table[np.arange(256) // (255 // (2**bits - 1))]
    return (as_grey(png) if colour == _INDEXED else png), table


def as_grey(png: bytes) -> bytes:
    """Changes the header of an indexed PNG to greyscale and removes the palette, so that decoders return the indices."""
    header = png[_SIGNATURE + 4 : _SIGNATURE + 21]  # type and fields of IHDR
    header = header[:13] + bytes([_GREY]) + header[14:]
    at = _find_chunk(png, b"IDAT")
    return png[: _SIGNATURE + 4] + header + struct.pack(">I", zlib.crc32(header)) + png[at:]


def _first_colour(png: bytes) -> bytes:
    at = _find_chunk(png, b"PLTE") + 8
    return png[at : at + 3]


def _find_chunk(png: bytes, kind: bytes) -> int:
    """Returns the offset of the first chunk of type `kind`, or of the chunk IEND if no such chunk exists."""
    at = _SIGNATURE + 25
    while png[at + 4 : at + 8] not in (kind, b"IEND", b""):
        at += 12 + int.from_bytes(png[at : at + 4], "big")
    return at


@tf.function(autograph=False)  # TensorFlow traces this function only once, not once per source
def decode_mask(png: tf.Tensor) -> tf.Tensor:
    """Decodes a PNG to raw values, uint8 [h,w]. The result is empty for b""."""
    return tf.cond(png == b"", lambda: tf.zeros([0, 0], tf.uint8), lambda: tf.io.decode_png(png, channels=1)[..., 0])


class Decoded(NamedTuple):
    """The part of an image that a clip needs, at 1, 1/2, 1/4 or 1/8 of the original size.

    Attributes:
        rgb: uint8 [h,w,3], the part of the upright image.
        divisor: float32 []. A position p in the upright image, in pixels, is at p / divisor - corner in `rgb`.
        corner: float32 [2], x and y of the top left corner of `rgb` in the reduced image. The values are not integers if the
            length of a flipped side is not a multiple of the divisor.
    """

    rgb: tf.Tensor
    divisor: tf.Tensor
    corner: tf.Tensor


@tf.function(autograph=False)
def decode_image(
    jpeg: tf.Tensor, size: tf.Tensor, window: tf.Tensor, shrink: tf.Tensor, orientation: tf.Tensor | int = 1
) -> Decoded:
    """Decodes the part of a JPEG inside a window, and rotates the part upright. The result is empty for b"".

    To obtain the upright image, the stored image is transposed if its orientation is 5 or above, then flipped along x, y or
    both.

    Args:
        jpeg: the encoded image, as bytes.
        size: float32 [2], height and width of the upright image.
        window: float32 [4], left, top, right and bottom in pixels of the upright image. The window may extend beyond the image.
        shrink: the factor by which the image will be reduced. The divisor is the largest of 1, 2, 4 and 8 that does not
            exceed `shrink` / 0.9, or 1 if all of these numbers exceed `shrink` / 0.9.
        orientation: int [], the EXIF orientation, from 1 to 8.
    """
    orientation, sides = tf.convert_to_tensor(orientation), size[::-1]
    flipped = tf.stack([tf.reduce_any(tf.equal(orientation, values)) for values in _FLIPPED])
    transposed = orientation >= _TRANSPOSED

    def stored(pair: tf.Tensor) -> tf.Tensor:
        return tf.where(transposed, pair[::-1], pair)

    def decoded(divisor: int) -> Decoded:
        low, high = window[:2], window[2:]
        low, high = (stored(tf.where(flipped, *ends)) for ends in ((sides - high, low), (sides - low, high)))
        edge = tf.math.ceil(stored(sides) / divisor)
        first = tf.clip_by_value(tf.floor(low / divisor) - _MARGIN, 0.0, edge - 1)
        last = tf.clip_by_value(tf.math.ceil(high / divisor) + _MARGIN, first + 1, edge)
        extent = last - first
        place = tf.cast([first[1], first[0], extent[1], extent[0]], tf.int32)
        rgb = tf.io.decode_and_crop_jpeg(jpeg, place, channels=3, ratio=divisor)

        def turned() -> tf.Tensor:
            upright = tf.cond(transposed, lambda: tf.transpose(rgb, [1, 0, 2]), lambda: rgb)
            steps = tf.where(flipped, -1, 1)
            return upright[:: steps[1], :: steps[0]]

        corner = tf.where(flipped, sides / divisor - stored(last), stored(first))
        return Decoded(tf.cond(orientation == 1, lambda: rgb, turned), tf.constant(divisor, tf.float32), corner)

    def nothing() -> Decoded:
        return Decoded(tf.zeros([0, 0, 3], tf.uint8), tf.constant(1.0), tf.zeros([2]))

    branches = [lambda divisor=divisor: decoded(divisor) for divisor in (1, 2, 4, 8)]
    halvings = tf.reduce_sum(tf.cast(shrink / 0.9 >= [2.0, 4.0, 8.0], tf.int32))
    return tf.switch_case(tf.where(jpeg == b"", len(branches), halvings), [*branches, nothing])
