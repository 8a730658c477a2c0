"""Tests that rendered clips depend only on the seed and the clip number, and that their masks are exact."""

import io
import pickle
import zlib

import numpy as np
import pytest
from PIL import Image

from data.moving_shapes import MovingShapes, Shape
from data.source import open_source


@pytest.fixture(scope="module")
def shapes():
    return MovingShapes(seed=3, clips=40, frames=5, height=96, width=160)


def test_a_clip_depends_on_seed_and_number_alone(shapes):
    fewer = MovingShapes(seed=3, clips=7, frames=5, height=96, width=160)
    assert fewer.fetch([31, 4]) == shapes.fetch([31, 4]) == pickle.loads(pickle.dumps(fewer)).fetch([31, 4])
    assert fewer.fetch([31]) != MovingShapes(seed=4, clips=7, frames=5, height=96, width=160).fetch([31])


def test_the_mask_is_where_the_shapes_are(shapes):
    """Compares pixels of three masks with the equation of the star-like shapes at the pixel centres."""
    for clip, frame in ((0, 0), (5, 2), (11, 4)):
        mask = shapes.render(clip, frame)[1]
        poses = [(*shape.pose(frame / 4), shape) for shape in shapes._clips[clip].shapes]
        for row in range(0, 96, 3):
            for column in range(0, 160, 3):
                expected = 0
                for i, (y, x, radius, angle, shape) in enumerate(poses, start=1):
                    dy, dx = (row + 0.5) / 96 - y, (column + 0.5) / 96 - x
                    bearing = np.arctan2(dy, dx) - angle
                    if np.hypot(dy, dx) < radius * (1 + shape.depth * np.cos(shape.lobes * bearing)):
                        expected = i
                assert mask[row, column] == expected


def test_objects_move_turn_and_grow():
    shape = Shape((0.5, 0.8), (0.2, -0.4), (0, 0), 0.2, 0.5, 0.1, 1.0, 3, 0.2)
    np.testing.assert_allclose(shape.pose(0), (0.4, 1.0, 0.15, 0.1))
    np.testing.assert_allclose(shape.pose(1), (0.6, 0.6, 0.25, 1.1))


def test_every_object_is_seen_in_every_frame_with_about_its_area(shapes):
    index, occluded = shapes.index, 0
    for record in range(0, 200, 7):
        ids = index.decode(record // 5, shapes.fetch([record])[1][0])
        areas = index.objects(record)
        assert set(areas) == set(np.unique(ids)) - {0}
        for i, area in areas.items():
            assert abs(area - (ids == i).sum()) < 0.3 * area + 40
        frames = [shapes.render(record // 5, t)[1] for t in range(5)]
        occluded += len(areas) > 1 and len({(frame == 1).sum() // 50 for frame in frames}) > 1
    assert occluded > 3


def test_images_show_the_same_objects_as_masks(shapes):
    """Edges in the image are much stronger along the borders of the mask than elsewhere."""
    image, mask = shapes.render(2, 0)
    jpeg, png = shapes.fetch([10])
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png[0]))), mask)
    decoded = np.asarray(Image.open(io.BytesIO(jpeg[0])).convert("RGB")).astype(int)
    assert np.abs(decoded - image).mean() < 4
    edges = np.abs(np.diff(image.astype(int).sum(2), axis=1))
    border = mask[:, 1:] != mask[:, :-1]
    assert edges[border].mean() > 3 * edges[~border].mean()


def test_opened_as_a_data_set():
    train = open_source("moving_shapes", "nowhere", "train")
    assert len(train.index.videos) == 1000
    assert train.fetch([0]) == MovingShapes(seed=zlib.crc32(b"train"), clips=1).fetch([0])
    assert train.fetch([0]) != MovingShapes(seed=zlib.crc32(b"val"), clips=1).fetch([0])
