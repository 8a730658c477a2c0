"""Tests that rendered sprites have the position and area given by their path, and that a video depends only on its number."""

import numpy as np
import pytest
from PIL import Image

from tools import make_sprites

SHAPE = (200, 100)  # width, height


def sprite(**path):
    """Returns a sprite with an opaque red square as its picture. By default, the sprite stays in the centre of the frame."""
    picture = np.zeros((make_sprites.SPRITE, make_sprites.SPRITE, 4), np.float32)
    picture[...] = 1, 0, 0, 1
    still = {"start": np.array([0.5, 0.5]), "speed": np.zeros(2), "sway": np.zeros(2), "beat": 0, "phase": 0, "size": 0.4}
    still |= {"growth": 0, "spin": 0, "angle": 0, "turn": 0, "shadow": False}
    return make_sprites.Sprite([picture] * 3, 1, **still | path)


@pytest.mark.parametrize(
    ("path", "time", "centre", "area"),
    [
        ({}, 0, (100, 50), 40 * 40),
        ({"angle": 0.7}, 0, (100, 50), 40 * 40),
        ({"speed": np.array([0.1, -0.05])}, 2, (140, 40), 40 * 40),
        ({"growth": 0.5}, 2, (100, 50), 80 * 80),
        ({"turn": np.pi / 3}, 1, (100, 50), 20 * 40),
    ],
)
def test_a_sprite_is_where_its_path_says(path, time, centre, area):
    opaque = sprite(**path).place(time, SHAPE)[..., 3] > 0.5
    y, x = np.nonzero(opaque)
    assert opaque.shape == SHAPE[::-1]
    assert opaque.sum() == pytest.approx(area, rel=0.06)
    assert (x.mean() + 0.5, y.mean() + 0.5) == pytest.approx(centre, abs=0.6)


def test_a_video_depends_on_its_number_only(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    (tmp_path / "sprites").mkdir()
    Image.fromarray(rng.integers(0, 256, (300, 520, 3), np.uint8)).save(tmp_path / "photos/a.jpg")
    pictures = [Image.new("RGBA", (64, 64)) for _ in range(3)]
    for i, picture in enumerate(pictures):
        picture.paste((200, 40 * i, 0, 255), (8, 8, 50, 40 + 5 * i))
    pictures[0].save(tmp_path / "sprites/a.webp", save_all=True, append_images=pictures[1:], lossless=True)
    inputs = ["--sprites", str(tmp_path / "sprites"), "--photos", str(tmp_path / "photos")]
    make_sprites.main([str(tmp_path / "all"), *inputs, "--videos", "3"])
    make_sprites.main([str(tmp_path / "one"), *inputs, "--videos", "1", "--first", "2"])
    for kind, suffix in (("JPEGImages", "jpg"), ("Annotations", "png")):
        found = sorted((tmp_path / "all" / kind).rglob(f"*.{suffix}"))
        assert len(found) == 3 * make_sprites.FRAMES
        again = sorted((tmp_path / "one" / kind).rglob(f"*.{suffix}"))
        assert [file.read_bytes() for file in again] == [file.read_bytes() for file in found if "sprites0002" in str(file)]
    ids = {int(k) for file in found for k in np.unique(Image.open(file))}
    assert {0, 1} <= ids <= set(range(make_sprites.LABELLED + 1))
