"""Objects of other images pasted into a clip, each on a path of its own."""

import tensorflow as tf
from ml_collections import ConfigDict

from data.clips.affine import AFFINE_NUMBERS, pull, random_affine
from data.clips.draws import between
from data.clips.tables import CLIP

_STRIDE = 2  # every second row and column is enough to find where an object lies
_FARTHEST = 20_000  # pixels of a donor that the output spans at most, as positions must not overflow
_NUMBERS = (1, 1, 2, 2, AFFINE_NUMBERS, CLIP * AFFINE_NUMBERS)
PASTE_NUMBERS = sum(_NUMBERS)


def paste_maps(config: ConfigDict, box: tf.Tensor, uniform: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Draws the maps from output to donor of the three frames, for each donor.

    The object is resized so that the longer side of its box is a share `size` of the output's shorter side, but by no more
    than `zoom_limit`; turned, sheared and zoomed about the middle of the box; put anywhere; and moved on from frame to frame
    by up to `drift` of the output's sides.

    Args:
        config: the data config.
        box: float32 [d,4], left, top, right, bottom of the object in its image.
        uniform: float32 [d,PASTE_NUMBERS], in [0, 1).

    Returns maps, float32 [3,d,2,3], and how many pixels of the donor become one, float32 [d].
    """
    paste = config.copy_paste
    size, flip, place, drift, per_clip, per_frame = tf.split(uniform, _NUMBERS, axis=1)
    output = tf.constant(config.size[::-1], tf.float32)
    centre, extent = (box[:, :2] + box[:, 2:]) / 2, tf.maximum(tf.reduce_max(box[:, 2:] - box[:, :2], axis=1), 1.0)
    scale = tf.minimum(between(size[:, 0], *paste.size) * tf.reduce_min(output) / extent, paste.zoom_limit)
    scale = tf.maximum(scale, max(config.size) / _FARTHEST)
    affine = random_affine(config.affine.frame, tf.reshape(per_frame, [-1, CLIP, AFFINE_NUMBERS]))
    matrix = scale[:, None, None, None] * affine @ random_affine(paste.affine, per_clip)[:, None]
    mirror = tf.stack([tf.where(flip[:, 0] < config.flip, -1.0, 1.0), tf.ones_like(flip[:, 0])], -1)
    steps = tf.range(CLIP, dtype=tf.float32)[:, None] * between(drift, -paste.drift, paste.drift)[:, None]
    path = (place[:, None] + steps) * output
    maps = pull(mirror[:, None, :, None] * matrix, tf.broadcast_to(centre[:, None], tf.shape(path)), path)
    return tf.transpose(maps, [1, 0, 2, 3]), 1 / scale


@tf.function(autograph=False)
def cut_out(mask: tf.Tensor, ids: tf.Tensor, object_id: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Cuts the box around an object out of a mask.

    Takes raw values uint8 [h,w], the id of each value, uint8 [256], and the object's id. Returns uint8 [h1,w1], 1 in the
    object, and the box: left, top, right, bottom, int32 [4]. Both are empty where the object is not seen. The box can miss a
    line of single pixels.
    """
    wanted = tf.cast(tf.cast(ids, tf.int32) == object_id, tf.uint8)
    seen = tf.gather(wanted, tf.cast(mask[::_STRIDE, ::_STRIDE], tf.int32)) > 0
    columns, rows = (tf.cast(tf.where(tf.reduce_any(seen, axis))[:, 0], tf.int32) * _STRIDE for axis in (0, 1))

    def box() -> tf.Tensor:
        first = tf.stack([columns[0], rows[0]]) - (_STRIDE - 1)
        last = tf.stack([columns[-1], rows[-1]]) + _STRIDE
        return tf.concat([tf.maximum(first, 0), tf.minimum(last, tf.shape(mask)[::-1])], 0)

    left, top, right, bottom = tf.unstack(tf.cond(tf.size(columns) > 0, box, lambda: tf.zeros([4], tf.int32)))
    return tf.gather(wanted, tf.cast(mask[top:bottom, left:right], tf.int32)), tf.stack([left, top, right, bottom])
