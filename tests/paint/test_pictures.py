"""Tests the sizes and the cache of frames that are encoded as JPEGs."""

import io

import numpy as np
import pytest
from PIL import Image

from hmmn_jax.io.video import ArrayVideo
from hmmn_jax.paint.pictures import FramePictures


class Counting(ArrayVideo):
    def __init__(self, *args):
        super().__init__(*args)
        self.reads = []

    def __getitem__(self, index):
        self.reads.append(index)
        return super().__getitem__(index)


def size_of(content):
    return Image.open(io.BytesIO(content)).size


@pytest.fixture
def video():
    return Counting(np.random.default_rng(0).integers(0, 256, (6, 200, 300, 3), np.uint8))


def test_heights_are_few(video):
    pictures = FramePictures(video)
    found = {height: size_of(pictures.jpeg(0, height))[1] for height in (None, 1, 48, 49, 96, 100, 192, 193, 200, 9000)}
    assert found == {None: 200, 1: 48, 48: 48, 49: 96, 96: 96, 100: 192, 192: 192, 193: 200, 200: 200, 9000: 200}
    assert size_of(pictures.jpeg(0, 96)) == (144, 96)
    assert len(video.reads) == 4


def test_a_narrow_frame_keeps_a_column():
    assert size_of(FramePictures(ArrayVideo(np.zeros((1, 600, 2, 3), np.uint8))).jpeg(0, 48)) == (1, 48)


def test_the_last_ones_are_kept_within_the_budget(video):
    one = len(FramePictures(video).jpeg(0))
    video.reads.clear()
    pictures = FramePictures(video, int(3.5 * one))
    for t in (0, 1, 2, 0, 3, 0, 1):
        pictures.jpeg(t)
    assert video.reads == [0, 1, 2, 3, 1] and pictures._used <= 3.5 * one
    small = FramePictures(video, 10)
    assert small.jpeg(0) == small.jpeg(0) and len(small._kept) == 1


def test_frames_that_are_not_there(video):
    with pytest.raises(IndexError):
        FramePictures(video).jpeg(6)
