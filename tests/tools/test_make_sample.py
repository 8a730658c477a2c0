"""Tests that `tools/make_sample.py` renders the bundled clip, and that object 2 is hidden while object 1 comes nearer."""

import numpy as np
import pytest

from hmmn_jax.datasets.davis import read_davis
from hmmn_jax.errors import DataError
from hmmn_jax.io.bundled import DEMO_CLIP
from hmmn_jax.io.images import read_image, read_mask
from tools.make_sample import FRAMES, render, write_clip

ROOT = DEMO_CLIP


@pytest.fixture(scope="module")
def clip():
    (sequence,) = read_davis(ROOT, "2017", "val")
    return sequence


@pytest.fixture(scope="module")
def areas(clip):
    """Returns the number of pixels of objects 1 and 2 in every frame, `[t,2]`."""
    return np.stack([np.bincount(read_mask(path).ravel(), minlength=3)[1:] for _, path in sorted(clip.masks.items())])


def test_frames_are_those_of_the_script(clip):
    """Rendered frames differ from the bundled frames only by JPEG compression.

    Masks may differ in a few pixels, because the rounding of sines depends on the machine.
    """
    for t, (frame, mask) in zip((0, FRAMES - 1), render((0, FRAMES - 1)), strict=True):
        assert np.abs(frame.astype(int) - read_image(clip.frames[t])).mean() < 4
        assert (mask != read_mask(clip.masks[t])).mean() < 1e-4


def test_every_frame_is_annotated(clip, areas):
    assert len(clip.frames) == len(areas) == FRAMES
    assert areas.min() > 300


def test_object_2_is_hidden_and_comes_back_while_object_1_comes_nearer(areas):
    lowest = areas[:, 1].argmin()
    assert areas[lowest, 1] < 0.4 * areas[0, 1] and areas[lowest:, 1].max() > 1.3 * areas[lowest, 1]
    assert areas[-1, 0] > 1.5 * areas[0, 0]


def test_no_file_is_replaced(tmp_path):
    frames = [(np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8))] * FRAMES
    mine = tmp_path / "JPEGImages/240p/koi/00007.jpg"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(DataError, match=r"00007\.jpg and 0 more files already exist"):
        write_clip(tmp_path, frames)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [mine] and mine.read_text() == "mine"
    mine.unlink()
    write_clip(tmp_path, frames)
    assert sum(path.is_file() for path in tmp_path.rglob("*")) == 2 * FRAMES + 1 and not (tmp_path / ".sample.part").exists()


def test_it_stays_small():
    assert sum(path.stat().st_size for path in ROOT.rglob("*") if path.is_file()) < 900_000
