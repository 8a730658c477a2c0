"""Geometry of a clip.

One map per frame combines resizing, the affine map of the clip, the affine map of the frame, cropping around an object, and
flipping.
"""

import tensorflow as tf
from ml_collections import ConfigDict

from data.clips.affine import AFFINE_NUMBERS, applied, product, pull, random_affine
from data.clips.draws import Draws, Topic, between

_STRIDE = 4  # every fourth row and column is sufficient to find a position in an object


def clip_maps(
    config: ConfigDict, size: tf.Tensor, anchor: tf.Tensor, still: tf.Tensor, uniform: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns a random map from output coordinates to image coordinates for each of the t frames.

    The image is resized so that its short side has a random length between `config.resize` and the original length. The image
    is then rotated, sheared and zoomed about its centre, once for the clip and again for each frame. Finally, the image is
    cropped to a part that contains the anchor, and randomly flipped.

    Args:
        config: the data config.
        size: float32 [2], height and width of the image in pixels.
        anchor: float32 [2], a position (x, y) in the first frame, in pixels. The crop must contain this position.
        still: bool [], whether the clip is made from a still image. If true, the crop is chosen for each frame separately.
        uniform: float32 [`geometry_numbers(t)`], random numbers in [0, 1).

    Returns:
        The maps, float32 [t,2,3], and the factor by which the image is reduced, float32 [].
    """
    (height, width), frames = config.size, config.frames
    resize, flip, place, per_clip, per_frame = tf.split(uniform, _numbers(frames))
    short = tf.reduce_min(size)
    scale = between(resize[0], config.resize, tf.maximum(float(config.resize), short)) / short
    scale = tf.maximum(scale, tf.reduce_max([height, width] / size))
    affine = random_affine(config.affine.frame, tf.reshape(per_frame, [frames, AFFINE_NUMBERS]))
    matrix = scale * product(affine, random_affine(config.affine.clip, per_clip))

    centre = size[::-1] / 2
    window = tf.constant([width, height], tf.float32)
    middle = applied(matrix, anchor - centre)
    free = (scale * size[::-1] - window) / 2
    low = tf.maximum(-free, middle - window / 2)
    high = tf.maximum(tf.minimum(free, middle + window / 2), low)
    place = tf.reshape(place, [frames, 2])
    place = place[:1] + config.wander * (place - place[:1])
    crop = between(place, low, high)
    crop = tf.where(still, crop, tf.broadcast_to(crop[:1], [frames, 2]))

    mirror = tf.stack([tf.where(flip[0] < config.flip, -1.0, 1.0), 1.0])
    return pull(mirror[:, None] * matrix, centre, window / 2 - mirror * crop), 1 / scale


def _numbers(frames: int) -> tuple[int, ...]:
    return 1, 1, 2 * frames, AFFINE_NUMBERS, frames * AFFINE_NUMBERS


def geometry_numbers(frames: int) -> int:
    """Returns the number of random numbers that `clip_maps` needs for a clip of `frames` frames."""
    return sum(_numbers(frames))


def find_anchor(mask: tf.Tensor, ids: tf.Tensor, draws: Draws) -> tf.Tensor:
    """Chooses a random object in a mask, then a random position inside the object.

    Args:
        mask: uint8 [h,w], raw values.
        ids: uint8 [256], the object id of each value.
        draws: the random numbers for this attempt to create the clip.

    Returns:
        The position (x, y) in pixels, float32 [2]. The position is the centre of the mask if the mask contains no object.
    """
    sparse = tf.cast(tf.gather(ids, tf.cast(mask[_STRIDE // 2 :: _STRIDE, _STRIDE // 2 :: _STRIDE], tf.int32)), tf.int32)
    counts = tf.math.bincount(tf.reshape(sparse, [-1]), minlength=256, maxlength=256)
    there = tf.where(tf.concat([[0], counts[1:]], 0) > 0)[:, 0]
    bits = draws.bits(Topic.OBJECTS, 2)

    def in_object() -> tf.Tensor:
        chosen = tf.cast(there[bits[0] % tf.size(there, tf.int64)], tf.int32)
        places = tf.where(sparse == chosen)
        row_column = places[bits[1] % tf.shape(places, tf.int64)[0]]
        return tf.cast(row_column[::-1] * _STRIDE + _STRIDE // 2, tf.float32) + 0.5

    return tf.cond(tf.size(there) > 0, in_object, lambda: tf.cast(tf.shape(mask)[::-1], tf.float32) / 2)
