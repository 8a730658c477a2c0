"""Tests the DAVIS palette, which is also the palette of PASCAL VOC, by comparison with known entries."""

import numpy as np
import pytest

from hmmn_jax.io.palette import davis_palette


@pytest.mark.parametrize(
    ("index", "colour"),
    [
        (0, (0, 0, 0)),
        (1, (128, 0, 0)),
        (2, (0, 128, 0)),
        (3, (128, 128, 0)),
        (4, (0, 0, 128)),
        (5, (128, 0, 128)),
        (6, (0, 128, 128)),
        (7, (128, 128, 128)),
        (8, (64, 0, 0)),
        (9, (192, 0, 0)),
        (16, (0, 64, 0)),
        (20, (0, 64, 128)),
        (64, (32, 0, 0)),
        (128, (0, 32, 0)),
        (255, (224, 224, 192)),
    ],
)
def test_known_entries(index, colour):
    assert tuple(davis_palette()[index].tolist()) == colour


def test_every_id_has_a_colour_of_its_own():
    palette = davis_palette()
    assert palette.shape == (256, 3) and palette.dtype == np.uint8
    assert len(np.unique(palette, axis=0)) == 256
