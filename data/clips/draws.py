"""Stateless random numbers, which are functions of (seed, sample, attempt, topic)."""

import enum

import tensorflow as tf

from hmmn_jax.errors import DataError

ATTEMPTS = 100  # maximum number of attempts to create a clip that contains an object


class Topic(enum.IntEnum):
    """Topics of random numbers. Append new topics at the end.

    Each topic has its own random numbers, so that changes to one topic do not affect the others.
    """

    SET = 0
    FRAMES = 1
    OBJECTS = 2
    GEOMETRY = 3
    COLOUR = 4
    PASTE = 5
    HIDE = 6
    DONORS = 7
    LABELS = 8


class Draws:
    """The random numbers for one attempt to create one sample."""

    def __init__(self, seed: tf.Tensor, sample: tf.Tensor, attempt: tf.Tensor):
        """`seed` and `sample` are int64 scalars, and `attempt` is an int32 scalar.

        The choice of the data set does not depend on `attempt`, so failed attempts do not change the weights of data sets.
        """
        keys = _bits([ATTEMPTS, len(Topic), 2], tf.stack([seed, sample]))
        self._keys = keys[attempt]
        self._set_key = keys[0, Topic.SET]

    def _key(self, topic: Topic) -> tf.Tensor:
        return self._set_key if topic is Topic.SET else self._keys[topic]

    def uniform(self, topic: Topic, *shape: int) -> tf.Tensor:
        """Returns random float32 numbers in [0, 1).

        Draw all numbers of a topic in a single call, because a second call would return the same numbers.
        """
        return tf.random.stateless_uniform(shape, self._key(topic), alg="philox")

    def bits(self, topic: Topic, count: int) -> tf.Tensor:
        """Returns random non-negative integers, int64 [count], for `below` and `fraction`.

        Draw all numbers of a topic in a single call; see `uniform`.
        """
        return _bits([count], self._key(topic)) & (2**62 - 1)


def below(bits: tf.Tensor, limit: tf.Tensor) -> tf.Tensor:
    """Returns a uniform random integer in [0, limit), with the dtype of `limit`."""
    return tf.cast(bits % tf.cast(limit, tf.int64), limit.dtype)


def fraction(bits: tf.Tensor) -> tf.Tensor:
    """Returns a uniform random float32 number in [0, 1)."""
    return tf.cast(bits % 2**24, tf.float32) / 2**24


def between(uniform: tf.Tensor, low: float | tf.Tensor, high: float | tf.Tensor) -> tf.Tensor:
    """Scales a number in [0, 1) to [low, high)."""
    return low + uniform * (high - low)


def piecewise(points: tuple[tuple[int, float], ...], sample: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Returns the value of a schedule ((first sample, value), ...) at a sample.

    Raises DataError unless the schedule is sorted and starts at sample 0.
    """
    starts, values = zip(*points, strict=True)
    if starts[0] != 0 or list(starts) != sorted(starts):
        raise DataError(f"schedule is {tuple(points)}, expected ((first sample, value), ...) in order, starting at sample 0")
    place = tf.searchsorted(tf.constant(starts, tf.int64), sample[None], side="right")[0] - 1
    return tf.constant(values, dtype)[place]


def _bits(shape: list[int], seed: tf.Tensor) -> tf.Tensor:
    return tf.random.stateless_uniform(shape, seed, minval=None, maxval=None, dtype=tf.int64, alg="philox")
