import io
import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from PIL import ExifTags, Image, ImageOps

from data.clips.decode import decode_image, decode_mask, readable_mask
from tests.data.made import MadeSource, jpeg

IDS = np.arange(35, dtype=np.uint8).reshape(5, 7)


def raw_png(values, bits, colour, palette=b"", interlaced=False):
    """Encodes `values` [h,w] as a PNG with `bits` bits per pixel, the colour type `colour` and no row filters."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    spread = (values[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    rows = np.packbits(spread.reshape(len(values), -1).astype(np.uint8), axis=1)
    pixels = zlib.compress(np.pad(rows, ((0, 0), (1, 0))).tobytes())
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], bits, colour, 0, 0, 0)
    extra = chunk(b"PLTE", palette) + chunk(b"tRNS", b"\x00\x80") if palette else b""
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def ids_of(png, **changes):
    """Returns the ids that the pipeline decodes from a PNG. `changes` replaces fields of the index."""
    source = MadeSource(videos=1, frames=1)
    source.index = replace(source.index, **changes)
    readable, table = readable_mask(source, 0, png)
    return table[decode_mask(tf.constant(readable)).numpy()]


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("colour", [0, 3])
def test_masks_of_all_depths(bits, colour):
    values = IDS % min(2**bits, 200)
    palette = np.random.default_rng(0).integers(0, 256, 3 * 2**bits, np.uint8).tobytes() if colour == 3 else b""
    png = raw_png(values, bits, colour, palette)
    if colour == 3:
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png))), values)  # verifies `raw_png`
    np.testing.assert_array_equal(ids_of(png), values)


def test_masks_that_are_255_in_the_object():
    values = np.where(IDS % 3 == 0, 255, 0)
    png = raw_png(values, 8, 0)
    np.testing.assert_array_equal(ids_of(png), 0)  # 255 is void
    np.testing.assert_array_equal(ids_of(png, binary=np.array([True])), values // 255)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "I;16"])
def test_masks_of_other_kinds_go_by_way_of_pillow(mode):
    ids = IDS % 3
    image = Image.fromarray(ids)
    if mode == "I;16":
        image = Image.fromarray(ids.astype(np.uint16))
    elif mode == "LA":
        image = image.convert("LA")
    else:
        image = Image.fromarray(np.array([[0, 0, 0], [128, 0, 0], [0, 128, 0]], np.uint8)[ids]).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    np.testing.assert_array_equal(ids_of(buffer.getvalue()), ids)


@pytest.mark.parametrize("colour", [0, 3])
def test_soft_masks(colour):
    """The ids depend on the brightness of the pixels. In indexed PNGs, this is the brightness of the palette colour."""
    table = (np.arange(256) >= 128).astype(np.uint8)
    levels = IDS * 7
    palette = np.repeat(np.arange(256, dtype=np.uint8)[::-1], 3).tobytes() if colour == 3 else b""
    found = ids_of(raw_png(levels, 8, colour, palette), id_map=table, soft=np.array(True))
    np.testing.assert_array_equal(found, (255 - levels if colour == 3 else levels) >= 128)


@pytest.mark.parametrize(("shrink", "divisor"), [(1.7, 1), (1.81, 2), (3.7, 4), (100.0, 8)])
def test_images_are_decoded_in_place_at_the_size_that_is_needed(shrink, divisor):
    """Red encodes the column and green encodes the row, so the colour of a decoded pixel shows its position."""
    height, width = 163, 241
    rows, columns = np.mgrid[:height, :width]
    ramp = np.stack([columns, rows, np.full_like(rows, 128)], -1).astype(np.uint8)
    size = tf.constant([height, width], tf.float32)
    window = tf.constant([50.3, -20.0, 150.2, 90.0])
    found = decode_image(tf.constant(jpeg(ramp)), size, window, tf.constant(shrink))
    assert found.divisor.numpy() == divisor
    rgb = found.rgb.numpy().astype(int)
    x = (np.arange(rgb.shape[1]) + 0.5 + found.corner.numpy()[0]) * divisor
    y = (np.arange(rgb.shape[0]) + 0.5 + found.corner.numpy()[1]) * divisor
    assert x[0] < 50.3
    assert x[-1] > 150.2
    assert y[0] < divisor
    assert y[-1] > 90
    assert np.abs(rgb[..., 0].mean(axis=0) + 0.5 - x)[1:-1].max() < 2  # JPEG noise is about 1 level
    assert np.abs(rgb[..., 1].mean(axis=1) + 0.5 - y)[1:-1].max() < 2
    assert rgb.shape[0] * rgb.shape[1] < 1.25 * (100 + 8 * divisor) * (90 + 8 * divisor) / divisor**2


@pytest.mark.parametrize("divisor", [1, 2, 8])
def test_windows_of_images_of_all_orientations_are_upright(divisor):
    """Compares pixels and positions with a crop of the whole image that Pillow has rotated upright."""
    rng = np.random.default_rng(divisor)
    for orientation in (*range(1, 9), *range(1, 9)):
        height, width = rng.integers(9, 70, 2).tolist()
        blocks = rng.integers(0, 256, (12, 12, 3), np.uint8).repeat(6, axis=0).repeat(6, axis=1)
        stored = jpeg(np.ascontiguousarray(blocks[:height, :width]), orientation)
        whole = Image.fromarray(tf.io.decode_jpeg(stored, ratio=divisor).numpy())
        whole.getexif()[ExifTags.Base.Orientation] = orientation
        upright = np.asarray(ImageOps.exif_transpose(whole))
        left, right = np.sort(rng.uniform(-9, width + 9, 2))
        top, bottom = np.sort(rng.uniform(-9, height + 9, 2))
        size, window = tf.constant([height, width], tf.float32), tf.constant([left, top, right, bottom], tf.float32)
        found = decode_image(tf.constant(stored), size, window, tf.constant(0.95 * divisor), tf.constant(orientation))
        rgb, (x, y) = found.rgb.numpy(), found.corner.numpy()
        # The decoder reduces blocks of divisor x divisor pixels, starting at the top left of the stored image. In a flipped
        # image, the incomplete last block comes first.
        over = np.array(upright.shape[1::-1]) - np.array([width, height]) / divisor
        column, row = x + over[0] * (orientation in (2, 3, 6, 7)), y + over[1] * (orientation in (3, 4, 7, 8))
        assert (column, row) == (int(column), int(row))
        cut = upright[int(row) :, int(column) :][: rgb.shape[0], : rgb.shape[1]]
        np.testing.assert_array_equal(rgb, cut)
        assert divisor * x <= max(left, 0) and divisor * (x + rgb.shape[1]) >= min(right, width)
        assert divisor * y <= max(top, 0) and divisor * (y + rgb.shape[0]) >= min(bottom, height)


def test_empty_slots():
    assert decode_mask(tf.constant(b"")).shape == (0, 0)
    found = decode_image(tf.constant(b""), tf.zeros(2), tf.zeros(4), tf.constant(1.0))
    assert found.rgb.shape == (0, 0, 3)
