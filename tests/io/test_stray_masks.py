"""Tests that masks among frames are detected in each format and with any name.

Also tests that frames that resemble masks are accepted.
"""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from hmmn_jax.errors import DataError
from hmmn_jax.io import stray_masks
from hmmn_jax.io.inspection import inspect_frames
from hmmn_jax.io.notes import Notes

SIZE = (192, 128)
FOUND = r" looks like a mask among the frames \(1 of 7 files\)"


def photos(folder, suffix, count=6, mode="RGB", low=0, high=256):
    paths = []
    for i in range(count):
        coarse = np.random.default_rng(i).integers(low, high, (8, 12, 3), dtype=np.uint8)
        paths.append(folder / f"{i:05d}{suffix}")
        Image.fromarray(coarse).resize(SIZE, Image.Resampling.BICUBIC).convert(mode).save(paths[-1])
    return paths


def mask(path, mode="RGB", **options):
    image = Image.new("RGB", SIZE)
    pen = ImageDraw.Draw(image)
    pen.ellipse((20, 16, 88, 104), fill=(255, 255, 255) if mode == "L" else (128, 0, 0))
    pen.rectangle((112, 40, 180, 120), fill=(255, 255, 255) if mode == "L" else (0, 128, 0))
    image.convert(mode).save(path, **options)
    return path


@pytest.mark.parametrize(
    ("name", "mode", "suffix", "options"),
    [
        ("00000_mask.jpg", "L", ".jpg", {}),
        ("00006.jpg", "L", ".jpg", {}),
        ("mask.jpg", "RGB", ".jpg", {}),
        ("mask.jpg", "RGB", ".png", {}),
        ("mask.webp", "RGB", ".jpg", {"lossless": True}),
        ("mask.webp", "RGB", ".webp", {}),
        ("mask.png", "RGB", ".jpg", {}),
        ("00006.png", "RGB", ".png", {}),
        ("00006.png", "RGBA", ".png", {}),
    ],
)
def test_masks(tmp_path, name, mode, suffix, options):
    paths = [mask(tmp_path / name, mode, **options), *photos(tmp_path, suffix)]
    with pytest.raises(DataError, match=name.replace(".", r"\.") + FOUND):
        inspect_frames(paths)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_mask_next_to_each_frame(tmp_path, suffix):
    masks = [mask(tmp_path / f"{i:05d}_mask{suffix}") for i in range(6)]
    with pytest.raises(DataError, match=r"00000_mask\..* \(6 of 12 files\)"):
        inspect_frames([*masks, *photos(tmp_path, suffix)])


def test_a_grey_picture_with_another_name(tmp_path):
    (tmp_path / "depth").mkdir()
    (depth,) = photos(tmp_path / "depth", ".jpg", 1, "L")
    with pytest.raises(DataError, match="depth_0.jpg" + FOUND):
        inspect_frames([depth.rename(tmp_path / "depth_0.jpg"), *photos(tmp_path, ".jpg")])


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_grey_dark_and_black_frames_are_no_masks(tmp_path, suffix):
    paths = photos(tmp_path, suffix)
    for name, mode, shades in (("6", "L", (0, 256)), ("7", "L", (0, 40)), ("8", "RGB", (0, 12)), ("9", "RGB", (0, 256))):
        (tmp_path / name).mkdir()
        (path,) = photos(tmp_path / name, suffix, 1, mode, *shades)
        paths.append(path.rename(tmp_path / f"0000{name}{suffix}"))
    for i, mode in ((10, "L"), (11, "RGB")):
        Image.new(mode, SIZE).save(tmp_path / f"{i:05d}{suffix}")
        paths.append(tmp_path / f"{i:05d}{suffix}")
    notes = Notes()
    inspect_frames(paths, notes)
    assert notes.lines() == []


def test_a_dark_first_frame_with_another_name(tmp_path):
    (tmp_path / "dark").mkdir()
    (dark,) = photos(tmp_path / "dark", ".jpg", 1, low=0, high=30)
    inspect_frames([dark.rename(tmp_path / "first.jpg"), *photos(tmp_path, ".jpg")])


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_drawings_among_drawings(tmp_path, suffix):
    inspect_frames([mask(tmp_path / f"{name}{suffix}") for name in ("00000", "00001", "00002", "cover")])


def test_names_unlike_the_others_are_reported(tmp_path):
    paths = photos(tmp_path, ".jpg", 4)
    cover = paths[0].rename(tmp_path / "cover.jpg")
    notes = Notes()
    inspect_frames([cover, *paths[1:]], notes)
    assert notes.lines() == [f"some frames have unusual names: 1 frame ({cover})"]
    other = tmp_path / "a.jpg"
    other.write_bytes(paths[3].read_bytes())
    # Nothing is reported for only three frames, or if no name pattern occurs in more than half of the frames.
    for few in ([cover, *paths[1:3]], [cover, other, *paths[1:3]]):
        notes = Notes()
        inspect_frames(few, notes)
        assert notes.lines() == []


def test_few_files_are_decoded(tmp_path, monkeypatch):
    decoded = []
    monkeypatch.setattr(stray_masks, "_is_flat", lambda path, kind: bool(decoded.append(path)))
    frames = [(tmp_path / f"{name}{i}.jpg", "JPEG", "RGB") for name, count in (("a", 101), ("b", 99)) for i in range(count)]
    for path, _, _ in frames:
        path.touch()
    stray_masks.require_no_masks(frames)
    assert len(decoded) == 17
