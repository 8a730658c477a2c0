import numpy as np
import pytest
import tensorflow as tf
from ml_collections import ConfigDict

from data.clips.affine import affine, corners, pull, random_affine, shifted


def test_the_parts_of_an_affine():
    """The x axis points right and the y axis points down, so a rotation by +90 degrees maps the x axis to the y axis."""
    for (rotation, shear, zoom_x, zoom_y), expected in {
        (0.0, 0.0, 1.0, 1.0): [[1, 0], [0, 1]],
        (90.0, 0.0, 1.0, 1.0): [[0, -1], [1, 0]],
        (0.0, 45.0, 1.0, 1.0): [[1, 1], [0, 1]],
        (0.0, 0.0, 2.0, 3.0): [[2, 0], [0, 3]],
        (90.0, 45.0, 2.0, 3.0): [[0, -3], [2, 3]],
    }.items():
        matrix = affine(*map(tf.constant, (rotation, shear, zoom_x, zoom_y)))
        np.testing.assert_allclose(matrix, expected, atol=1e-6)


def test_ranges_are_filled_evenly():
    """Computes the angles and zooms from the matrices. The first column of a matrix is the rotated and zoomed x axis."""
    ranges = ConfigDict({"rotation": 20.0, "shear": 10.0, "zoom": (0.9, 1.1)})
    uniform = np.random.default_rng(0).random((20_000, 4), np.float32)
    matrices = random_affine(ranges, tf.constant(uniform)).numpy().astype(np.float64)
    rotation = np.degrees(np.arctan2(matrices[:, 1, 0], matrices[:, 0, 0]))
    zoom_x = np.hypot(matrices[:, 1, 0], matrices[:, 0, 0])
    zoom_y = np.linalg.det(matrices) / zoom_x
    cosine, sine = np.cos(np.radians(rotation)), np.sin(np.radians(rotation))
    shear = np.degrees(np.arctan((cosine * matrices[:, 0, 1] + sine * matrices[:, 1, 1]) / zoom_y))
    for values, low, high in ((rotation, -20, 20), (shear, -10, 10), (zoom_x, 0.9, 1.1), (zoom_y, 0.9, 1.1)):
        counts, _ = np.histogram(values, 10, (low, high))
        assert counts.sum() >= 19_990  # float32 rounding moves a few values out of the range
        assert ((counts - 2000) ** 2 / 2000).sum() < 33.7  # 99.99 % quantile of chi-square with 9 degrees of freedom
    assert np.abs(np.corrcoef([rotation, shear, zoom_x, zoom_y]) - np.eye(4)).max() < 0.03


def test_pull_is_the_way_back():
    rng = np.random.default_rng(1)
    matrix, source, target = rng.normal(size=(5, 2, 2)), rng.normal(size=(5, 2)), rng.normal(size=(5, 2))
    point = rng.normal(size=(5, 2))
    out = np.einsum("nij,nj->ni", matrix, point - source) + target
    maps = pull(*(tf.constant(value, tf.float32) for value in (matrix, source, target))).numpy()
    back = np.einsum("nij,nj->ni", maps[..., :2], out) + maps[..., 2]
    np.testing.assert_allclose(back, point, atol=1e-4)
    moved = shifted(tf.constant(maps), tf.constant([[3.0, -2.0]] * 5)).numpy()
    np.testing.assert_allclose(moved[..., 2] - maps[..., 2], [[3, -2]] * 5, atol=1e-5)


@pytest.mark.parametrize("matrix", [[[1.0, 0, 5], [0, 2, -1]]])
def test_corners(matrix):
    np.testing.assert_array_equal(corners(tf.constant(matrix), 10, 20), [[5, -1], [25, -1], [5, 19], [25, 19]])
