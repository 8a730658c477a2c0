"""Tests the note that is printed when a long video is opened."""

import itertools

import numpy as np
import pytest

from hmmn_jax.io.video import ArrayVideo
from hmmn_jax.paint import opening
from hmmn_jax.paint.opening import count_frames


class Film(ArrayVideo):
    """A video of `count` frames. Its estimated length before decoding is `about` frames."""

    def __init__(self, count, about):
        super().__init__(np.zeros((count, 2, 2, 3), np.uint8), "film")
        self.length_hint = about

    length_hint = 0  # replaces the property of `Video`


@pytest.mark.parametrize(
    ("count", "about", "seconds"),
    [(300, 300, 20), (300, 240, 15), (300, 60, None), (300, 0, None), (20, 20, None), (20, 3000, None)],
)
def test_a_note_on_long_films(monkeypatch, capsys, count, about, seconds):
    clock = itertools.count(0, 4)  # each call of `monotonic` returns four seconds more
    monkeypatch.setattr(opening.time, "monotonic", lambda: next(clock))
    assert count_frames(Film(count, about)) == count
    expected = f"film: about {about} frames are decoded before the page opens. Decoding takes about {seconds} s."
    assert (expected in capsys.readouterr().err) == (seconds is not None)
