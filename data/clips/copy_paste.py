"""Pastes objects from other images into a clip. Each object moves along its own path."""

import cv2
import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from data.clips.affine import AFFINE_NUMBERS, product, pull, random_affine
from data.clips.draws import between

_FARTHEST = 20_000  # maximum extent of the output in pixels of a donor; larger positions would overflow


def _numbers(frames: int) -> tuple[int, ...]:
    return 1, 1, 2, 2, AFFINE_NUMBERS, frames * AFFINE_NUMBERS


def paste_numbers(frames: int) -> int:
    """Returns the number of random numbers that `paste_maps` needs for each donor in a clip of `frames` frames."""
    return sum(_numbers(frames))


def paste_maps(config: ConfigDict, box: tf.Tensor, uniform: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns random maps from the output to each donor, for each of the t frames.

    The object is resized so that the longer side of its box is a random fraction of the output's shorter side. The range of
    this fraction is `config.copy_paste.size`, and the maximum resize factor is `config.copy_paste.zoom_limit`. The object is
    then rotated, sheared and zoomed about the centre of the box, and placed at a random position. From one frame to the next,
    the position changes along each axis by at most `config.copy_paste.drift` times the output's side. All frames of a donor
    use the box of its first image, so an object from a video keeps its motion.

    Args:
        config: the data config.
        box: float32 [d,4], left, top, right and bottom of the object in its first image.
        uniform: float32 [d,`paste_numbers(t)`], in [0, 1).

    Returns:
        The maps, float32 [t,d,2,3], and the factor by which each donor is reduced, float32 [d].
    """
    paste, frames = config.copy_paste, config.frames
    size, flip, place, drift, per_clip, per_frame = tf.split(uniform, _numbers(frames), axis=1)
    output = tf.constant(config.size[::-1], tf.float32)
    centre, extent = (box[:, :2] + box[:, 2:]) / 2, tf.maximum(tf.reduce_max(box[:, 2:] - box[:, :2], axis=1), 1.0)
    scale = tf.minimum(between(size[:, 0], *paste.size) * tf.reduce_min(output) / extent, paste.zoom_limit)
    scale = tf.maximum(scale, max(config.size) / _FARTHEST)
    affine = random_affine(config.affine.frame, tf.reshape(per_frame, [-1, frames, AFFINE_NUMBERS]))
    matrix = scale[:, None, None, None] * product(affine, random_affine(paste.affine, per_clip)[:, None])
    mirror = tf.stack([tf.where(flip[:, 0] < config.flip, -1.0, 1.0), tf.ones_like(flip[:, 0])], -1)
    steps = tf.range(frames, dtype=tf.float32)[:, None] * between(drift, -paste.drift, paste.drift)[:, None]
    path = (place[:, None] + steps) * output
    maps = pull(mirror[:, None, :, None] * matrix, tf.broadcast_to(centre[:, None], tf.shape(path)), path)
    return tf.transpose(maps, [1, 0, 2, 3]), 1 / scale


def cut_out(ids: np.ndarray, object_ids: np.ndarray, *masks: np.ndarray) -> tuple[np.ndarray, ...]:
    """Crops each of the d masks to the bounding box of an object.

    Args:
        ids: uint8 [d,256]; `ids[i, v]` is the object id of the value v in mask i.
        object_ids: int32 [d], the object to cut out of each mask.
        *masks: uint8 [h,w] each, the raw values of the masks.

    Returns:
        The boxes (left, top, right, bottom), float32 [d,4], and the cropped masks, uint8 [h1,w1] each, which are 1 inside the
        object. If an object is not visible, its box and mask are empty.
    """
    boxes, parts = np.zeros((len(masks), 4), np.float32), []
    for place, mask in enumerate(masks):
        mine = cv2.LUT(mask, (ids[place] == object_ids[place]).astype(np.uint8)) if mask.size else mask
        left, top, width, height = cv2.boundingRect(mine) if mask.size else (0, 0, 0, 0)
        boxes[place] = left, top, left + width, top + height
        parts.append(np.ascontiguousarray(mine[top : top + height, left : left + width]))
    return boxes, *parts
