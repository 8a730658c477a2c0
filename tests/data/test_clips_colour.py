import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from data.clips.colour import after, jitter, random_jitter, to_grey

MEAN = np.float32([100, 80, 60])


def changed(colour, **factors):
    factors = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0, **factors}
    matrix, offset = jitter(**{name: tf.constant(value) for name, value in factors.items()}, mean=tf.constant(MEAN))
    return matrix.numpy() @ np.float32(colour) + offset.numpy()


def test_each_factor():
    colour = (200, 100, 50)
    luma = 0.299 * 200 + 0.587 * 100 + 0.114 * 50
    pivot = 0.299 * 100 + 0.587 * 80 + 0.114 * 60
    np.testing.assert_allclose(changed(colour), colour, atol=1e-3)
    np.testing.assert_allclose(changed(colour, brightness=1.2), (240, 120, 60), atol=1e-3)
    np.testing.assert_allclose(changed(colour, contrast=0.5), [(c + pivot) / 2 for c in colour], atol=1e-3)
    np.testing.assert_allclose(changed(colour, saturation=0.0), [luma] * 3, atol=1e-3)
    np.testing.assert_allclose(changed(colour, brightness=1.2, contrast=0.0), [1.2 * pivot] * 3, atol=1e-3)


def test_a_turn_of_hue():
    for turn in (0.0, 1.0):
        np.testing.assert_allclose(changed((200, 100, 50), hue=turn), (200, 100, 50), atol=1e-2)
    np.testing.assert_allclose(changed((77, 77, 77), hue=0.3), [77] * 3, atol=0.1)  # grey has no hue
    assert np.argmax(changed((200, 0, 0), hue=1 / 3)) != 0
    quarter = np.linalg.matrix_power(np.stack([changed(c, hue=0.25) for c in np.eye(3)], 1), 4)
    np.testing.assert_allclose(quarter, np.eye(3), atol=1e-4)


def test_maps_follow_each_other():
    first = jitter(*(tf.constant(v) for v in (1.1, 0.8, 1.2, 0.05)), mean=tf.constant(MEAN))
    colour = np.float32([10, 200, 90])
    once = first[0].numpy() @ colour + first[1].numpy()
    matrix, offset = after(to_grey(), first)
    np.testing.assert_allclose(matrix.numpy() @ colour + offset.numpy(), [np.dot(once, [0.299, 0.587, 0.114])] * 3, rtol=1e-4)


def test_ranges():
    ranges = ConfigDict({"brightness": 0.2, "contrast": 0.0, "saturation": 0.0, "hue": 0.0})
    uniform = np.random.default_rng(0).random((500, 4), np.float32)
    matrix, offset = random_jitter(ranges, tf.constant(uniform), tf.tile(MEAN[None], [500, 1]))
    factors = matrix.numpy()[:, 0, 0]
    np.testing.assert_allclose(matrix.numpy(), factors[:, None, None] * np.eye(3), atol=1e-5)
    np.testing.assert_allclose(offset, 0, atol=1e-4)
    assert 0.8 <= factors.min() < 0.82
    assert 1.18 < factors.max() <= 1.2
