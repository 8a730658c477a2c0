"""Computes affine maps of the plane.

Positions are (x, y) in pixels. The x axis points to the right, and the y axis points down. The centre of the first pixel is at
(0.5, 0.5).
"""

import math

import tensorflow as tf
from ml_collections import ConfigDict

from data.clips.draws import between

AFFINE_NUMBERS = 4  # number of random numbers that `random_affine` needs for a matrix


def product(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Multiplies small matrices [...,i,j] and [...,j,k].

    This function is used instead of `tf.matmul`, whose rounding depends on whether oneDNN is enabled in the process.
    """
    return tf.add_n([a[..., :, j, None] * b[..., None, j, :] for j in range(a.shape[-1])])


def applied(matrix: tf.Tensor, vector: tf.Tensor) -> tf.Tensor:
    """Applies matrices [...,i,j] to vectors [...,j], with the same rounding as `product`."""
    return product(matrix, vector[..., None])[..., 0]


def affine(rotation: tf.Tensor, shear: tf.Tensor, zoom_x: tf.Tensor, zoom_y: tf.Tensor) -> tf.Tensor:
    """Returns matrices, float32 [...,2,2], that first zoom each axis, then shear x in proportion to y, then rotate clockwise.

    `rotation` and `shear` are in degrees.
    """
    turn, slant = rotation * (math.pi / 180), tf.tan(shear * (math.pi / 180))
    cosine, sine = tf.cos(turn), tf.sin(turn)
    rows = [
        tf.stack([cosine * zoom_x, (cosine * slant - sine) * zoom_y], -1),
        tf.stack([sine * zoom_x, (sine * slant + cosine) * zoom_y], -1),
    ]
    return tf.stack(rows, -2)


def random_affine(ranges: ConfigDict, uniform: tf.Tensor) -> tf.Tensor:
    """Computes random matrices [...,2,2] from random numbers [...,4], uniform in the range from 0 to 1.

    `ranges` contains the maximum `rotation` and `shear` in either direction, in degrees, and the range of `zoom` for each axis.
    """
    rotation, shear, zoom_x, zoom_y = tf.unstack(uniform, axis=-1)
    return affine(
        between(rotation, -ranges.rotation, ranges.rotation),
        between(shear, -ranges.shear, ranges.shear),
        between(zoom_x, *ranges.zoom),
        between(zoom_y, *ranges.zoom),
    )


def inverse(matrix: tf.Tensor) -> tf.Tensor:
    """Inverts matrices [...,2,2]."""
    a, b, c, d = matrix[..., 0, 0], matrix[..., 0, 1], matrix[..., 1, 0], matrix[..., 1, 1]
    adjugate = tf.stack([tf.stack([d, -b], -1), tf.stack([-c, a], -1)], -2)
    return adjugate / (a * d - b * c)[..., None, None]


def pull(matrix: tf.Tensor, source: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    """Returns the maps from output to source, float32 [...,2,3], for the transform of p to matrix (p - source) + target.

    Warping needs maps from output to source, because the colour of each output pixel is looked up in the source.
    """
    back = inverse(matrix)
    offset = source - applied(back, target)
    return tf.concat([back, offset[..., None]], -1)


def corners(maps: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Returns the positions (x, y) of the output's four corners in the source, float32 [...,4,2]."""
    places = tf.constant([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]], tf.float32)
    return applied(maps[..., None, :, :], places)


def shifted(maps: tf.Tensor, by: tf.Tensor) -> tf.Tensor:
    """Adds offsets (x, y), [...,2], to the source positions that the maps, [...,2,3], compute."""
    return tf.concat([maps[..., :2], maps[..., 2:] + by[..., None]], -1)
