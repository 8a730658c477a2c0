"""Tests the inspection of frame files: size, number of pages, orientation, and masks mixed with the frames."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from hmmn_jax.errors import DataError
from hmmn_jax.io.image_video import ImageVideo
from hmmn_jax.io.inspection import FrameFacts, inspect_frames
from hmmn_jax.io.notes import Notes


def frame(path, height=16, width=24, seed=0, **options):
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, **options)
    return path


def frames(folder, count=3, suffix=".jpg", **options):
    return [frame(folder / f"{i:05d}{suffix}", seed=i, **options) for i in range(count)]


def turned(orientation):
    exif = Image.Exif()
    exif[274] = orientation
    return exif


def save_mask(path, mode="P"):
    ids = np.zeros((16, 24), np.uint8)
    ids[4:9, 5:15] = 1 if mode != "L" else 255
    image = Image.fromarray(ids == 1) if mode == "1" else Image.fromarray(ids)
    if mode == "P":
        image.putpalette([0, 0, 0, 200, 0, 0])
    image.save(path)
    return path


def test_the_size(tmp_path):
    assert inspect_frames(frames(tmp_path)) == FrameFacts(24, 16)


def test_a_frame_of_another_size_is_named(tmp_path):
    paths = frames(tmp_path, 4)
    frame(paths[2], 16, 20)
    with pytest.raises(DataError, match=r"00002\.jpg: the frame has 20x16 .* 00000\.jpg has 24x16.* 1 of 4 frames differs"):
        inspect_frames(paths)


@pytest.mark.parametrize("suffix", [".tif", ".webp", ".png", ".gif"])
def test_images_of_several_pages(tmp_path, suffix):
    pages = [Image.fromarray(np.full((8, 8, 3), i, np.uint8)) for i in (0, 100, 200)]
    pages[0].save(tmp_path / f"a{suffix}", save_all=True, append_images=pages[1:])
    with pytest.raises(DataError, match=rf"a\{suffix}: the image has 3 pages"):
        inspect_frames([tmp_path / f"a{suffix}"])


def test_a_phone_s_second_picture_is_not_a_page(tmp_path):
    picture = Image.fromarray(np.zeros((8, 8, 3), np.uint8))
    picture.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[picture])
    assert inspect_frames([tmp_path / "a.jpg"]) == FrameFacts(8, 8)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
@pytest.mark.parametrize(("orientation", "size"), [(3, (24, 16)), (6, (16, 24))])
def test_orientation(tmp_path, suffix, orientation, size):
    notes = Notes()
    facts = inspect_frames(frames(tmp_path, 2, suffix, exif=turned(orientation)), notes)
    assert facts == FrameFacts(*size, turned=2)
    assert [line.endswith(f"2 frames (such as {tmp_path}/00000{suffix})") and "EXIF" in line for line in notes.lines()] == [
        True
    ]


def test_the_orientation_of_a_png_behind_its_pixels(tmp_path):
    path = frame(tmp_path / "a.png")
    content, exif = path.read_bytes(), turned(6).tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(exif)) + b"eXIf" + exif + struct.pack(">I", zlib.crc32(b"eXIf" + exif))
    path.write_bytes(content[:-12] + chunk + content[-12:])
    assert inspect_frames([path]) == FrameFacts(16, 24, turned=1)


@pytest.mark.parametrize("mode", ["P", "1", "L"])
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_mask_among_frames_in_colour(tmp_path, mode, suffix):
    mask = save_mask(tmp_path / "00000_m.png", mode)
    with pytest.raises(DataError, match=r"00000_m\.png looks like a mask among the frames \(1 of 4 files\)"):
        inspect_frames([mask, *frames(tmp_path, 3, suffix)])


def test_a_mask_among_grey_frames_has_another_name(tmp_path):
    for path in (paths := frames(tmp_path, 3, ".png")):
        Image.open(path).convert("L").save(path)
    assert inspect_frames(paths) == FrameFacts(24, 16)
    with pytest.raises(DataError, match=r"first\.png looks like a mask"):
        inspect_frames([save_mask(tmp_path / "first.png", "L"), *paths])


def test_frames_that_are_no_masks(tmp_path):
    indexed = [save_mask(tmp_path / f"{i}.png") for i in range(3)]
    assert inspect_frames(indexed) == FrameFacts(24, 16)
    black = tmp_path / "black.png"
    Image.new("1", (24, 16)).save(black)
    grey = tmp_path / "00009.png"
    Image.open(frame(grey)).convert("L").save(grey)
    assert inspect_frames([black, grey, *frames(tmp_path, suffix=".jpg")]) == FrameFacts(24, 16)


def test_files_that_are_no_images(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"a\.jpg: the file is empty"):
        inspect_frames([tmp_path / "a.jpg"])
    Image.fromarray(np.zeros((8, 8), np.float32)).save(tmp_path / "f.tif")
    with pytest.raises(DataError, match=r"f\.tif: the white level of 32-bit pixels"):
        inspect_frames([tmp_path / "f.tif"])


def test_grey_frames_of_8_and_16_bits(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (16, 24))
    for i, kind in enumerate((np.uint8, np.uint16, np.uint16)):
        Image.fromarray(noise.astype(kind)).save(tmp_path / f"{i}.png")
    with pytest.raises(
        DataError,
        match=r"1\.png: the frame has 16 bits per pixel, but 0\.png has 8. 2 grey frames have 16 bits per pixel, and 1 have 8",
    ):
        inspect_frames([tmp_path / f"{i}.png" for i in range(3)])
    assert inspect_frames([tmp_path / "1.png", tmp_path / "2.png"]) == FrameFacts(24, 16, sixteen=2)


def test_pages_of_8_and_16_bits(tmp_path):
    first, second = (Image.fromarray(np.full((8, 8), 100, kind)) for kind in (np.uint8, np.uint16))
    first.save(tmp_path / "a.tif", save_all=True, append_images=[second])
    with pytest.raises(DataError, match=r"a\.tif: the frame has 16 bits .* Save all frames with the same number of bits"):
        ImageVideo.of_pages(tmp_path / "a.tif").inspect()
