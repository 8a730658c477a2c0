"""Tests the choice of the maximum number of memory frames for a video, and the notes about the size of its frames."""

import numpy as np
import pytest

from hmmn_jax import HMMNConfig
from hmmn_jax.inference import Segmenter
from hmmn_jax.io.video import ArrayVideo
from hmmn_jax.paint import fitting
from hmmn_jax.paint.fitting import fitted_segmenter, fitted_size


class Many(ArrayVideo):
    """A video of `count` frames that stores only one frame."""

    def __init__(self, count, height, width):
        super().__init__(np.zeros((1, height, width, 3), np.uint8))
        self.count = count

    def __len__(self):
        return self.count


# A memory cell takes 260 bytes: 4 * (16 + 48) for its key and value, and 4 for its kernel centre.
CONFIG = HMMNConfig().replace(key_dim_s16=16, value_dim_s16=48)


class Made(Segmenter):
    def __init__(self, *args, **options):
        self.args, self.options = args, options


@pytest.mark.parametrize(
    ("count", "free", "bound"),
    [
        (30, 1e12, 7),  # a bank of 8 slots is enough for 30 frames
        (2000, 1e12, 511),
        (2000, 4 * 30 * 54 * 260 * 1.5 * 2 * 100, 63),  # half of this memory is enough for a bank that grows to 100 slots
        (2000, 0, 7),
    ],
)
def test_memory_frames_are_bounded(monkeypatch, capsys, count, free, bound):
    monkeypatch.setattr(fitting, "free_bytes", lambda: int(free))
    monkeypatch.setattr(fitting, "Segmenter", Made)
    made = fitted_segmenter({}, CONFIG, Many(count, 480, 864))
    assert made.args == ({}, CONFIG) and made.options == {"mem_every": 5, "max_memory_frames": bound}
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("chosen", "height", "width", "size", "note"),
    [
        (None, 480, 864, 0, ""),
        (None, 1920, 1080, 480, "1080x1920 pixels are segmented at 480x853, and masks are scaled up"),
        (0, 1080, 1920, 0, "1920x1080 pixels are segmented at 1920x1080. Segmentation takes at least 5 times as long"),
        (720, 1080, 1920, 720, "segmented at 1280x720. Segmentation takes at least 2 times as long"),
        (240, 480, 864, 240, "864x480 pixels are segmented at 432x240, and masks are scaled up"),
    ],
)
def test_the_size_of_the_input(monkeypatch, capsys, chosen, height, width, size, note):
    monkeypatch.setattr(fitting, "Segmenter", Made)
    monkeypatch.setattr(fitting, "free_bytes", lambda: 4 * 30 * 54 * 260 * 3 * 100)  # enough for 100 slots at 480x864
    video = Many(2000, height, width)
    assert fitted_size(chosen, video) == size
    made = fitted_segmenter({}, CONFIG, video, chosen)
    told = capsys.readouterr().err
    assert note in told if note else told == ""
    assert made.options["max_memory_frames"] == {0: 63 if height == 480 else 15, 480: 63, 720: 31, 240: 255}[size]
