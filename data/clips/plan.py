"""Chooses the content of a sample: the data set, the video or image, the frames, and the objects to paste."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from data.clips.draws import Draws, Topic, below, fraction, piecewise
from data.clips.tables import Tables


class Plan(NamedTuple):
    """The images that a sample needs, in s = t + d * m slots: t slots for frames, then m slots for each of the d donors.

    A donor is an image or video whose object is pasted. m is t if donors from videos move, and 1 otherwise. A still image uses
    only the first of its slots.

    Attributes:
        set: int32 [], index of the sample's data set in the mixture.
        frames: int32 [s], the row in `Tables` of the image in each slot; -1 if the slot is empty.
        slot: int32 [t], the slot from which each frame of the clip is taken.
        numbers: int32 [t], frame numbers in the original video.
        donor_slot: int32 [t,d], the slot from which each donor is taken in each frame.
        donor_id: int32 [d], the id of the object to paste from each donor.
    """

    set: tf.Tensor
    frames: tf.Tensor
    slot: tf.Tensor
    numbers: tf.Tensor
    donor_slot: tf.Tensor
    donor_id: tf.Tensor


def make_plan(config: ConfigDict, tables: Tables, sample: tf.Tensor, draws: Draws) -> Plan:
    """Chooses random frames and donors for a sample.

    Config fields with a schedule are evaluated at `sample`, the sample number.
    """
    chosen = _choose_set(config, tables.set_unit, sample, draws.bits(Topic.SET, 1))[0]
    t = config.frames
    bits = draws.bits(Topic.FRAMES, t + 2)
    unit = _row_of(tables.set_unit, chosen, bits[0])
    start = tf.gather(tables.unit_frame, unit)
    still = tf.gather(tables.still, chosen)

    length = tf.gather(tables.unit_frame, unit + 1) - start
    skip = piecewise(config.max_skip, sample, tf.int32) // tf.gather(tables.unit_step, unit)
    skip = tf.maximum(tf.minimum(skip, (length - 1) // (t - 1) - 1), 0)  # limited so that the clip fits into the video
    gaps = 1 + below(bits[1:t], skip + 1)
    begin = below(bits[t], tf.maximum(length - tf.reduce_sum(gaps), 1))
    places = begin + tf.cumsum(tf.concat([[0], gaps], 0))
    places = tf.where(fraction(bits[t + 1]) < config.reverse, places[::-1], places)
    frames = tf.where(still, tf.concat([start[None], tf.fill([t - 1], -1)], 0), start + places)
    slot = tf.where(still, tf.zeros(t, tf.int32), tf.range(t))
    donors, donor_slot, donor_id = _donors(config, tables, sample, draws, frames)
    numbers = tf.gather(tables.number, tf.gather(frames, slot))
    return Plan(chosen, tf.concat([frames, donors], 0), slot, numbers, donor_slot, donor_id)


def _donors(
    config: ConfigDict, tables: Tables, sample: tf.Tensor, draws: Draws, frames: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Chooses random objects to paste.

    Returns frames int32 [d*m] (-1: none), slots int32 [t,d] and ids int32 [d]; see `Plan`.
    """
    paste, t = config.copy_paste, config.frames
    most = paste.objects[1]
    if not paste.probability or tables.set_donor[-1] == 0:
        return tf.zeros([0], tf.int32), tf.zeros([t, 0], tf.int32), tf.zeros([0], tf.int32)
    steps = most * (t - 1) if paste.moving else 0
    bits = draws.bits(Topic.DONORS, 2 + 2 * most + steps + 1)
    count = paste.objects[0] + below(bits[0], tf.constant(most + 1 - paste.objects[0]))
    twins = fraction(bits[-1]) < (paste.twins if most > 1 else 0.0)
    count = tf.where(twins, tf.maximum(count, 2), count)
    count = tf.where(fraction(bits[1]) < paste.probability, count, 0)
    donors = [config.sets[name].get("donors", 1.0) for name in set_names(config)]
    chosen = _choose_set(config, tables.set_donor, sample, bits[2 : 2 + most], np.float32(donors))
    row = _row_of(tables.set_donor, chosen, bits[2 + most : 2 + 2 * most])
    row = tf.where(twins & (tf.range(most) == 1), row[0], row)
    frame = tf.gather(tables.donor_frame, row)
    other = tf.reduce_all(frame[:, None] != frames, axis=1)  # an object from the clip's own image would appear twice
    donor_id, there = tf.gather(tables.donor_id, row), (tf.range(most) < count) & other
    if not paste.moving:
        return tf.where(there, frame, -1), tf.tile(t + tf.range(most)[None], [t, 1]), donor_id

    unit = tf.searchsorted(tables.unit_frame, frame, side="right") - 1
    first, last = tf.gather(tables.unit_frame, unit), tf.gather(tables.unit_frame, unit + 1) - 1
    skip = piecewise(config.max_skip, sample, tf.int32) // tf.gather(tables.unit_step, unit)
    gaps = 1 + below(tf.reshape(bits[2 + 2 * most : -1], [most, t - 1]), skip[:, None] + 1)
    places = frame[:, None] + tf.cumsum(tf.pad(gaps, [[0, 0], [1, 0]]), axis=1)
    places = tf.maximum(last[:, None] - tf.abs(last[:, None] - places), first[:, None])  # after the end, continue backwards
    moving = last > first
    frames = tf.where(there[:, None] & (moving[:, None] | (tf.range(t) == 0)), places, -1)
    slot = t + t * tf.range(most) + tf.where(moving, tf.range(t)[:, None], 0)
    return tf.reshape(frames, [-1]), slot, donor_id


def _choose_set(
    config: ConfigDict, bounds: np.ndarray, sample: tf.Tensor, bits: tf.Tensor, weights: np.ndarray | float = 1.0
) -> tf.Tensor:
    """Returns the index of a random data set, int32, for each number in `bits`.

    The probability of set j is proportional to the product of `weights[j]`, the set's `repeat` and `bounds[j + 1] - bounds[j]`.
    """
    repeats = tf.stack([piecewise(config.sets[name].repeat, sample, tf.float32) for name in set_names(config)])
    sums = tf.cumsum(repeats * weights * np.diff(bounds).astype(np.float32))
    return tf.minimum(tf.searchsorted(sums, fraction(bits) * sums[-1], side="right"), len(bounds) - 2)


def _row_of(bounds: np.ndarray, chosen: tf.Tensor, bits: tf.Tensor) -> tf.Tensor:
    """Returns a random row of each chosen data set. All rows of a data set have the same probability."""
    first = tf.gather(bounds, chosen)
    return first + below(bits, tf.gather(bounds, chosen + 1) - first)


def set_names(config: ConfigDict) -> list[str]:
    """Returns the names of the data sets in a mixture, in the order of their indices.

    A data set whose `repeat` is 0 for all samples is omitted, and does not need to exist.
    """
    return sorted(name for name, setting in config.sets.items() if any(value > 0 for _, value in setting.repeat))
