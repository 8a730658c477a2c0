"""The segmenter for a video: its limit of memory frames, and the note about large frames."""

import numpy as np
import pytest

from hmmn_jax import HMMNConfig
from hmmn_jax.inference import Segmenter
from hmmn_jax.io.video import ArrayVideo
from hmmn_jax.paint import fitting
from hmmn_jax.paint.fitting import fitted_segmenter


class Many(ArrayVideo):
    """A video with a given number of equal frames."""

    def __init__(self, count, height, width):
        super().__init__(np.zeros((1, height, width, 3), np.uint8))
        self.count = count

    def __len__(self):
        return self.count


CONFIG = HMMNConfig().replace(key_dim_s16=16, value_dim_s16=48)  # 4 * (16 + 48) bytes in a cell, and 4 of its centre


class Made(Segmenter):
    def __init__(self, *args, **options):
        self.args, self.options = args, options


@pytest.mark.parametrize(
    ("count", "free", "bound"),
    [
        (30, 1e12, 7),  # a bank of 8 slots is enough
        (2000, 1e12, 511),
        (2000, 4 * 30 * 54 * 260 * 1.5 * 2 * 100, 63),  # twice what 100 slots take while the bank grows
        (2000, 0, 7),
    ],
)
def test_memory_frames_are_bounded(monkeypatch, capsys, count, free, bound):
    monkeypatch.setattr(fitting, "free_bytes", lambda: int(free))
    monkeypatch.setattr(fitting, "Segmenter", Made)
    made = fitted_segmenter({}, CONFIG, Many(count, 480, 864))
    assert made.args == ({}, CONFIG) and made.options == {"mem_every": 5, "max_memory_frames": bound}
    assert capsys.readouterr().err == ""


def test_a_note_on_large_frames(monkeypatch, capsys):
    monkeypatch.setattr(fitting, "Segmenter", Made)
    fitted_segmenter({}, CONFIG, Many(3, 1080, 1920))
    assert "1920x1080 pixels are segmented at full size, which takes about 5 times as long" in capsys.readouterr().err
