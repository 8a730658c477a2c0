"""Tests reading images and masks of many kinds. Most of the files are written with Pillow."""

import errno
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from hmmn_jax.errors import ConfigError, DataError
from hmmn_jax.io.images import decode_mask, fit_mask, is_binary, read_ids, read_image, read_mask, settle_ids, write_mask

COLOURS = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[10, 20, 30], [255, 255, 255], [0, 0, 0]]], np.uint8)
IDS = np.array([[0, 1, 1], [2, 2, 0]], np.uint8)


def save(path, array_or_image, **options):
    image = array_or_image if isinstance(array_or_image, Image.Image) else Image.fromarray(array_or_image)
    image.save(path, **options)
    return path


def one_line_error(caught, *parts):
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


class TestReadImage:
    @pytest.mark.parametrize("suffix", [".png", ".bmp", ".ppm", ".tiff"])
    def test_rgb_comes_back_as_it_was(self, tmp_path, suffix):
        image = read_image(save(tmp_path / f"a{suffix}", COLOURS))
        assert image.dtype == np.uint8
        np.testing.assert_array_equal(image, COLOURS)

    def test_grey_indexed_and_transparent_become_rgb(self, tmp_path):
        grey = np.array([[0, 7, 255]], np.uint8)
        np.testing.assert_array_equal(read_image(save(tmp_path / "l.png", grey)), np.stack([grey] * 3, -1))
        indexed = Image.fromarray(np.array([[1, 0]], np.uint8))
        indexed.putpalette([1, 2, 3, 4, 5, 6])
        np.testing.assert_array_equal(read_image(save(tmp_path / "p.png", indexed)), [[[4, 5, 6], [1, 2, 3]]])
        rgba = np.concatenate([COLOURS, np.full((2, 3, 1), 9, np.uint8)], -1)
        np.testing.assert_array_equal(read_image(save(tmp_path / "rgba.png", rgba)), COLOURS)

    def test_sixteen_bit_grey_is_scaled_not_clipped(self, tmp_path):
        path = save(tmp_path / "a.png", np.array([[0, 0x1234, 0xFFFF]], np.uint16))
        np.testing.assert_array_equal(read_image(path)[..., 0], [[0, 0x12, 0xFF]])

    def test_cmyk_jpeg(self, tmp_path):
        path = save(tmp_path / "a.jpg", Image.new("CMYK", (16, 16), (0, 255, 255, 0)), quality=100)
        assert np.abs(read_image(path).astype(int) - [255, 0, 0]).max() <= 3

    def test_exif_turns_it_upright(self, tmp_path):
        exif = Image.Exif()
        exif[0x0112] = 6  # the camera was rotated, so row 0 of the file is the right side of the picture
        path = save(tmp_path / "a.png", COLOURS, exif=exif)
        np.testing.assert_array_equal(read_image(path), np.rot90(COLOURS, -1))

    @pytest.mark.parametrize("kept", [0.3, 0.7])
    @pytest.mark.parametrize("suffix", [".jpg", ".png"])
    def test_truncated(self, tmp_path, suffix, kept):
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        path = save(tmp_path / f"a{suffix}", noise)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * kept)])
        with pytest.raises(DataError) as caught:
            read_image(path)
        one_line_error(caught, str(path), "the image is damaged", "Copy or export it again")

    def test_corrupt_png(self, tmp_path):
        path = save(tmp_path / "a.png", COLOURS)
        content = bytearray(path.read_bytes())
        content[-20:-12] = b"\xff" * 8
        path.write_bytes(content)
        with pytest.raises(DataError, match="damaged"):
            read_image(path)

    def test_empty_text_missing_and_folder(self, tmp_path):
        for content, found in ((b"", "the file is empty"), (b"hello", "not an image in a known format")):
            (tmp_path / "a.jpg").write_bytes(content)
            with pytest.raises(DataError) as caught:
                read_image(tmp_path / "a.jpg")
            one_line_error(caught, str(tmp_path / "a.jpg"), found)
        with pytest.raises(DataError, match="No such file"):
            read_image(tmp_path / "b.jpg")
        with pytest.raises(DataError, match="Check the path"):
            read_image(tmp_path)

    def test_decompression_bomb(self, tmp_path):
        def chunk(kind, data):
            return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

        header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
        (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
        with pytest.raises(DataError) as caught:
            read_image(tmp_path / "a.png")
        one_line_error(caught, "too many pixels", "smaller image")


class TestReadMask:
    def test_indexed_grey_and_sixteen_bit_hold_ids(self, tmp_path):
        indexed = Image.fromarray(IDS)
        indexed.putpalette([9, 9, 9, 8, 8, 8, 7, 7, 7])  # an arbitrary palette; the ids are the indices, not the colours
        for name, image in (("p", indexed), ("p2", indexed), ("l", IDS), ("i", IDS.astype(np.uint16))):
            mask = read_mask(save(tmp_path / f"{name}.png", image, **({"bits": 2} if name == "p2" else {})))
            assert mask.dtype == np.uint8
            np.testing.assert_array_equal(mask, IDS)

    def test_one_bit(self, tmp_path):
        path = save(tmp_path / "a.png", Image.fromarray(IDS == 1))
        np.testing.assert_array_equal(read_mask(path), [[0, 1, 1], [0, 0, 0]])

    def test_davis_2016_masks_are_one_object(self, tmp_path):
        grey = np.array([[0, 255], [255, 0]], np.uint8)
        for name, pixels in (("l", grey), ("rgb", np.stack([grey] * 3, -1))):
            np.testing.assert_array_equal(read_mask(save(tmp_path / f"{name}.png", pixels)), [[0, 1], [1, 0]])

    def test_void_is_background_next_to_ids(self, tmp_path):
        path = save(tmp_path / "a.png", np.array([[0, 255, 3]], np.uint8))
        np.testing.assert_array_equal(read_mask(path), [[0, 0, 3]])

    def test_raw_ids_keep_void(self, tmp_path):
        for ids in ([[0, 255], [0, 255]], [[0, 1], [2, 255]]):
            path = save(tmp_path / "a.png", np.array(ids, np.uint8))
            np.testing.assert_array_equal(read_ids(path), ids)

    def test_colours_of_the_palette_are_ids(self, tmp_path):
        rgb = np.array([[[0, 0, 0], [128, 0, 0], [0, 128, 0]], [[192, 0, 0], [191, 0, 0], [255, 255, 255]]], np.uint8)
        np.testing.assert_array_equal(read_mask(save(tmp_path / "a.png", rgb)), [[0, 1, 2], [9, 9, 0]])
        rgba = np.concatenate([rgb, np.full((2, 3, 1), 255, np.uint8)], -1)
        np.testing.assert_array_equal(read_mask(save(tmp_path / "b.png", rgba)), [[0, 1, 2], [9, 9, 0]])

    @pytest.mark.parametrize(
        ("pixels", "found"),
        [
            (np.array([[[0, 0, 0], [127, 0, 0]]], np.uint8), "a colour outside the DAVIS palette, such as (127, 0, 0)"),
            (np.array([[0, 300]], np.uint16), "the value 300"),
            (np.array([[[0, 0, 0, 255], [128, 0, 0, 60]]], np.uint8), "transparent"),
        ],
    )
    def test_what_is_no_mask(self, tmp_path, pixels, found):
        path = save(tmp_path / "a.png", pixels)
        with pytest.raises(DataError) as caught:
            read_mask(path)
        one_line_error(caught, str(path), found)

    def test_a_palette_whose_background_is_drawn_in_black(self, tmp_path):
        def indexed(*colours):
            image = Image.fromarray(IDS)
            image.putpalette([value for colour in colours for value in colour])
            return save(tmp_path / "a.png", image)

        swapped = indexed((128, 0, 0), (0, 0, 0), (0, 128, 0))  # index 1 is black, and therefore background
        np.testing.assert_array_equal(read_ids(swapped), [[1, 0, 0], [2, 2, 1]])
        np.testing.assert_array_equal(read_ids(swapped, "ids"), IDS)
        np.testing.assert_array_equal(read_mask(indexed((255, 255, 255), (0, 0, 0), (0, 0, 0))), [[1, 0, 0], [0, 0, 1]])
        np.testing.assert_array_equal(read_ids(indexed((9, 9, 9), (8, 8, 8), (7, 7, 7), (0, 0, 0))), IDS)
        with pytest.raises(DataError, match="a colour outside the DAVIS palette"):
            read_ids(indexed((1, 2, 3), (0, 0, 0), (0, 128, 0)))

    def test_a_jpeg_is_no_mask_whatever_its_name(self, tmp_path):
        path = save(tmp_path / "a.png", IDS, format="JPEG")
        with pytest.raises(DataError, match="JPEG format, expected PNG"):
            read_mask(path)

    def test_a_truncated_mask(self, tmp_path):
        path = save(tmp_path / "a.png", np.random.default_rng(0).integers(0, 9, (64, 64), dtype=np.uint8))
        path.write_bytes(path.read_bytes()[:400])
        with pytest.raises(DataError, match="damaged"):
            read_mask(path)


class TestValuesOfAMask:
    @pytest.fixture
    def smooth(self, tmp_path):
        disc = np.hypot(*np.ogrid[-16:16, -24:24]) < 12
        fine = Image.fromarray(np.kron(disc, np.ones((4, 4))).astype(np.uint8) * 255)
        return save(tmp_path / "smooth.png", fine.resize((48, 32), Image.Resampling.BILINEAR))

    def test_levels_are_rejected_where_they_are_looked_for(self, smooth):
        levels = np.asarray(Image.open(smooth))
        np.testing.assert_array_equal(read_ids(smooth), levels)
        np.testing.assert_array_equal(read_ids(smooth, "ids", check_levels=True), levels)
        with pytest.raises(DataError) as caught:
            read_mask(smooth, check_levels=True)
        one_line_error(caught, "smooth.png", "grey values", "mask_values=threshold", "mask_values=ids")

    def test_a_threshold(self, smooth, tmp_path):
        expected = np.asarray(Image.open(smooth)) >= 128
        for mode in ("L", "LA"):
            path = save(tmp_path / "a.png", Image.open(smooth).convert(mode))
            np.testing.assert_array_equal(read_mask(path, "threshold", check_levels=True), expected)
        np.testing.assert_array_equal(decode_mask(grey_png(1, [0, 1] * 4), "a.png", values="threshold"), [[0, 1] * 4])
        indexed, colour = (save(tmp_path / f"{mode}.png", Image.open(smooth).convert(mode)) for mode in ("P", "RGB"))
        np.testing.assert_array_equal(read_ids(indexed, "threshold"), expected)
        with pytest.raises(DataError, match="threshold requires a grey mask"):
            read_mask(colour, "threshold")

    def test_a_palette_of_greys_holds_levels(self, smooth, tmp_path):
        levels = np.asarray(Image.open(smooth))
        ramp = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
        for indices, palette in ((levels, ramp), (255 - levels, ramp[::-1])):
            image = Image.fromarray(indices)
            image.putpalette(palette.tobytes())
            path = save(tmp_path / "a.png", image)
            np.testing.assert_array_equal(read_ids(path, "threshold"), levels >= 128)
            np.testing.assert_array_equal(read_ids(path, "ids", check_levels=True), indices)
            with pytest.raises(DataError, match="look like smooth edges"):
                read_ids(path, check_levels=True)

    def test_other_palettes_hold_ids(self, smooth, tmp_path):
        ramp = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
        few = Image.fromarray(np.kron(IDS, np.ones((8, 8), np.uint8)))
        few.putpalette(ramp.tobytes())
        path = save(tmp_path / "few.png", few)
        np.testing.assert_array_equal(read_ids(path, check_levels=True), np.asarray(few))
        for id_ in (7, 56):  # ids with a grey colour in the DAVIS palette; the grey level of id 56 is below 128
            write_mask(tmp_path / "davis.png", np.array([[0, id_]], np.uint8))
            np.testing.assert_array_equal(read_ids(tmp_path / "davis.png", "threshold", check_levels=True), [[0, id_]])
        write_mask(tmp_path / "colour.png", np.asarray(Image.open(smooth)))
        np.testing.assert_array_equal(read_ids(tmp_path / "colour.png", check_levels=True), np.asarray(Image.open(smooth)))

    def test_ids_pass_and_other_words_do_not(self, tmp_path):
        path = save(tmp_path / "a.png", np.repeat(np.arange(20, dtype=np.uint8), 8)[None].repeat(9, 0))
        np.testing.assert_array_equal(read_ids(path, check_levels=True), np.asarray(Image.open(path)))
        with pytest.raises(ConfigError, match="mask_values is 'colours', expected ids or threshold, or ''"):
            read_ids(path, "colours")


@pytest.mark.parametrize(
    ("ids", "settled"),
    [([0, 0], [0, 0]), ([0, 255], [0, 1]), ([255, 255], [1, 1]), ([255, 1], [0, 1]), ([0, 7], [0, 7]), ([254, 255], [254, 0])],
)
def test_settle_ids(ids, settled):
    result = settle_ids(np.array([ids], np.uint8))
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, [settled])


def test_255_is_settled_for_a_whole_video():
    empty, only, void = (np.array([[0, value]], np.uint8) for value in (0, 255, 3))
    gone = np.array([[0, 255]], np.uint8)  # the object has disappeared, and 255 is void
    assert is_binary([only, empty]) and not is_binary([void, gone])
    np.testing.assert_array_equal(settle_ids(gone, binary=False), [[0, 0]])
    np.testing.assert_array_equal(settle_ids(only, binary=True), [[0, 1]])


def grey_png(bits, values):
    """Encodes one row of grey values with fewer than eight bits as a PNG. Pillow cannot write 2-bit or 4-bit grey images."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = int("".join(f"{value:0{bits}b}" for value in values), 2).to_bytes(len(values) * bits // 8, "big")
    header = struct.pack(">IIBBBBB", len(values), 1, bits, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")


class TestDecodeMask:
    @pytest.mark.parametrize(("bits", "values"), [(1, [0, 1] * 4), (2, [0, 1, 2, 3]), (4, [0, 1, 9, 15])])
    def test_grey_of_few_bits(self, bits, values):
        png = grey_png(bits, values)
        np.testing.assert_array_equal(decode_mask(png, "a.png"), [values])
        stretched = [[value * 255 // (2**bits - 1) for value in values]]
        np.testing.assert_array_equal(decode_mask(png, "a.png", soft=True), stretched)

    def test_values_are_not_settled(self, tmp_path):
        path = save(tmp_path / "a.png", np.array([[0, 3, 255]], np.uint8))
        np.testing.assert_array_equal(decode_mask(path.read_bytes(), path), [[0, 3, 255]])

    def test_soft_masks_in_colour_and_sixteen_bits(self, tmp_path):
        colour = save(tmp_path / "rgb.png", np.full((1, 2, 3), 200, np.uint8))
        wide = save(tmp_path / "wide.png", np.array([[0x8000, 0x7FFF]], np.uint16))
        np.testing.assert_array_equal(decode_mask(colour.read_bytes(), colour, soft=True), [[200, 200]])
        np.testing.assert_array_equal(decode_mask(wide.read_bytes(), wide, soft=True), [[0x80, 0x7F]])

    def test_bytes_that_are_no_png_name_their_source(self):
        for content in (b"", b"text"):
            with pytest.raises(DataError, match=r"b\.png: .*expected a JPEG or PNG"):
                decode_mask(content, "b.png")


class TestFitMask:
    def test_the_same_size_passes(self):
        assert fit_mask(IDS, 2, 3, "m.png") is IDS

    def test_one_pixel_is_resized_to_the_nearest_with_a_warning(self):
        mask = np.array([[1, 2], [3, 4]], np.uint8)
        with pytest.warns(UserWarning, match=r"m\.png: the mask has 2x2 pixels, but its frame has 3x2. The mask is resized"):
            wider = fit_mask(mask, 2, 3, "m.png")
        assert wider.shape == (2, 3)
        np.testing.assert_array_equal(wider[:, [0, 2]], mask)
        assert set(wider[:, 1]) <= {1, 2, 3, 4}
        with pytest.warns(UserWarning):
            np.testing.assert_array_equal(
                fit_mask(np.array([[5, 6], [7, 8], [9, 1]], np.uint8), 2, 2, "m.png"), [[5, 6], [9, 1]]
            )

    @pytest.mark.parametrize("size", [(4, 3), (2, 5), (3, 1)])
    def test_two_pixels_are_rejected(self, size):
        with pytest.raises(DataError) as caught:
            fit_mask(IDS, *size, "m.png")
        one_line_error(caught, "m.png", "3x2", f"{size[1]}x{size[0]}")

    def test_swapped_sides_of_a_turned_frame(self):
        with pytest.raises(DataError) as caught:
            fit_mask(np.zeros((8, 12), np.uint8), 12, 8, "m.png", exif=True)
        one_line_error(caught, "12x8", "8x12", "EXIF", "Draw the mask on the upright frame")
        for size, exif in (((12, 8), False), ((20, 30), True)):
            with pytest.raises(DataError, match="Pass a mask with the size of its frame"):
                fit_mask(np.zeros((8, 12), np.uint8), *size, "m.png", exif=exif)


class TestWriteMask:
    def test_an_indexed_png_with_the_palette(self, tmp_path):
        ids = np.arange(256, dtype=np.uint8).reshape(16, 16)
        write_mask(tmp_path / "seq" / "00000.png", ids)
        with Image.open(tmp_path / "seq" / "00000.png") as image:
            assert (image.format, image.mode, image.size) == ("PNG", "P", (16, 16))
            assert image.getpalette()[:15] == [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0, 0, 0, 128]
            np.testing.assert_array_equal(np.asarray(image), ids)

    def test_round_trip(self, tmp_path):
        write_mask(tmp_path / "a.png", IDS)
        np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), IDS)

    @pytest.mark.parametrize("where", ["save", "replace"])
    def test_a_full_disk_leaves_the_older_mask(self, tmp_path, monkeypatch, where):
        write_mask(tmp_path / "a.png", IDS)

        def full(first, *_, **__):
            if where == "save":
                next(iter(_)).write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(*((Image.Image, "save") if where == "save" else (os, "replace")), full)
        with pytest.raises(DataError, match=r"No space left on device\. Free some space"):
            write_mask(tmp_path / "a.png", IDS + 1)
        assert os.listdir(tmp_path) == ["a.png"]
        np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), IDS)
