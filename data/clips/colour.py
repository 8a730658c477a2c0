"""Colour jitter as one affine map of RGB values in [0, 255] per frame: colour -> matrix @ colour + offset."""

import math

import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from data.clips.affine import applied, product

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]], np.float64)
_FROM_YIQ = np.linalg.inv(_TO_YIQ)
# The matrix of a hue rotation by an angle is the first matrix + cos(angle) * the second + sin(angle) * the third.
_TURN = (np.diag([1.0, 0, 0]), np.diag([0, 1.0, 1.0]), np.array([[0, 0, 0], [0, 0, -1.0], [0, 1.0, 0]]))
_TURN_RGB = tuple((_FROM_YIQ @ part @ _TO_YIQ).astype(np.float32) for part in _TURN)


def jitter(
    brightness: tf.Tensor, contrast: tf.Tensor, saturation: tf.Tensor, hue: tf.Tensor, mean: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the map that changes the brightness, the contrast, the saturation and the hue, in this order.

    The contrast is changed relative to the luma of the mean colour.

    Args:
        brightness: factor [...]; 1 leaves the brightness unchanged.
        contrast: factor [...]; 1 leaves the contrast unchanged.
        saturation: factor [...]; 1 leaves the saturation unchanged, and 0 results in grey.
        hue: rotation of the hue in turns, [...].
        mean: mean colour of the frame, [...,3].

    Returns:
        The matrix [...,3,3] and the offset [...,3], float32.
    """
    eye, grey = np.eye(3, dtype=np.float32), np.tile(LUMA, (3, 1))
    cosine, sine = tf.cos(hue * (2 * math.pi)), tf.sin(hue * (2 * math.pi))
    constant, along, across = _TURN_RGB
    turned = constant + cosine[..., None, None] * along + sine[..., None, None] * across
    saturated = saturation[..., None, None] * eye + (1 - saturation)[..., None, None] * grey
    matrix = product(turned, saturated) * (brightness * contrast)[..., None, None]
    # Saturation and hue do not change grey, so the offset is the same for all channels.
    pivot = applied(grey, mean) * (brightness * (1 - contrast))[..., None]
    return matrix, pivot


def random_jitter(ranges: ConfigDict, uniform: tf.Tensor, mean: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Computes random colour maps from uniform random numbers in [0, 1), [...,4].

    `ranges` contains the maximum relative change of the brightness, the contrast and the saturation, and the maximum change of
    the hue as a fraction of a full turn.
    """
    signed = uniform * 2 - 1
    names = ("brightness", "contrast", "saturation", "hue")
    brightness, contrast, saturation, hue = (signed[..., place] * ranges[name] for place, name in enumerate(names))
    return jitter(1 + brightness, 1 + contrast, 1 + saturation, hue, mean)


def after(second: tuple[tf.Tensor, tf.Tensor], first: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the map that applies `first`, then `second`."""
    return product(second[0], first[0]), applied(second[0], first[1]) + second[1]


def to_grey() -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the map that converts colours to their luma."""
    return tf.constant(np.tile(LUMA, (3, 1))), tf.zeros([3])
