"""Warps: one look-up per pixel of the output, compiled by XLA, whatever is pasted or transformed.

The pixels of all s sources of a clip (its frames, then its donors) lie in one flat buffer, source k from `start[k]` on, with
`size[k]` = (height, width). Maps go from output positions to positions in a source, as in `affine.py`. The `key` of an output
pixel says what is seen there: 0 background, 1 to 255 the object of that id, 256 + d the object that donor d gave.
"""

import tensorflow as tf

from data.clips.affine import apply
from data.clips.tables import CLIP

DONOR_KEY = 256


def join_buffers(buffers: list[tf.Tensor], channels: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Joins flat uint8 buffers. Returns the whole, padded to one of few lengths, and where each starts, in pixels, int32 [s].

    XLA compiles a program for each length, so lengths are rounded up to 2^k or 3/2 2^k.
    """
    lengths = tf.stack([tf.size(buffer) // channels for buffer in buffers])
    total = tf.reduce_sum(lengths)
    sizes = tf.constant([size << power for power in range(12, 28) for size in (2, 3)])
    padded = tf.gather(sizes, tf.searchsorted(sizes, total[None])[0])
    empty = tf.zeros([(padded - total) * channels], tf.uint8)
    return tf.concat([*buffers, empty], 0), tf.cumsum(lengths, exclusive=True)


@tf.function(jit_compile=True, autograph=False)
def warp_keys(
    values: tf.Tensor,
    start: tf.Tensor,
    size: tf.Tensor,
    ids: tf.Tensor,
    slot: tf.Tensor,
    maps: tf.Tensor,
    donor_id: tf.Tensor,
    height: int,
    width: int,
) -> tf.Tensor:
    """Warps masks to the nearest pixel and lays donors over them, the last on top.

    Args:
        values: uint8 [n], raw values of all masks.
        start, size: int32 [s] and [s,2].
        ids: uint8 [s,256], object id of each value.
        slot: int32 [3], source of each frame; donor d is source 3 + d.
        maps: float32 [3,1+d,2,3], for each frame that of the frame, then those of the donors. Donors of size 0 are absent.
        donor_id: int32 [d], the id of the donor's object.
        height, width: of the output.

    Returns keys, int32 [3,height,width].
    """
    x, y = _centres(height, width)

    def look_up(source: tf.Tensor | int, position_map: tf.Tensor) -> tf.Tensor:
        column, row = (tf.cast(tf.floor(place), tf.int32) for place in apply(position_map, x, y))
        tall, wide = size[source][0], size[source][1]
        inside = (column >= 0) & (column < wide) & (row >= 0) & (row < tall)
        place = tf.where(inside, start[source] + row * wide + column, 0)
        value = tf.cast(tf.gather(values, place), tf.int32)
        return tf.where(inside, tf.cast(tf.gather(ids[source], value), tf.int32), 0)

    frames = []
    for frame in range(CLIP):
        key = look_up(slot[frame], maps[frame, 0])
        for donor in range(maps.shape[1] - 1):
            pasted = look_up(CLIP + donor, maps[frame, 1 + donor]) == donor_id[donor]
            key = tf.where(pasted & (size[CLIP + donor][0] > 0), DONOR_KEY + donor, key)
        frames.append(key)
    return tf.stack(frames)


@tf.function(jit_compile=True, autograph=False)
def render(
    colours: tf.Tensor,
    start: tf.Tensor,
    size: tf.Tensor,
    slot: tf.Tensor,
    maps: tf.Tensor,
    keys: tf.Tensor,
    labels: tf.Tensor,
    matrix: tf.Tensor,
    offset: tf.Tensor,
    fill: tf.Tensor,
    hidden: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Renders the frames of a clip and its masks.

    Args:
        colours: uint8 [3n], RGB of all sources.
        start, size, slot, maps: as in `warp_keys`, for the sources of `colours`.
        keys: int32 [3,H,W].
        labels: uint8 [256+d], the id in the output of each key.
        matrix, offset: float32 [3,3,3] and [3,3], the change of colour of each frame.
        fill: float32 [3], colour outside of the image, and of what is hidden.
        hidden: bool [3,H,W].

    Returns frames uint8 [3,H,W,3], interpolated bilinearly, and masks uint8 [3,H,W].
    """
    _, height, width = keys.shape
    x, y = _centres(height, width)
    pixels = tf.bitcast(tf.pad(tf.reshape(colours, [-1, 3]), [[0, 0], [0, 1]]), tf.int32)  # one load a pixel
    frames = []
    for frame in range(CLIP):
        owner = tf.maximum(keys[frame] - (DONOR_KEY - 1), 0)
        place = (start[slot[frame]], size[slot[frame]][0], size[slot[frame]][1])
        column, row = apply(maps[frame, 0], x, y)
        for donor in range(maps.shape[1] - 1):
            mine, source = owner == donor + 1, CLIP + donor
            there = (start[source], size[source][0], size[source][1])
            place = tuple(tf.where(mine, new, old) for new, old in zip(there, place, strict=True))
            pasted = apply(maps[frame, 1 + donor], x, y)
            column, row = tf.where(mine, pasted[0], column), tf.where(mine, pasted[1], row)
        begin, tall, wide = place
        outside = (column < 0) | (column >= tf.cast(wide, tf.float32)) | (row < 0) | (row >= tf.cast(tall, tf.float32))
        left, right, along = _neighbours(column - 0.5, wide)
        above, below, down = _neighbours(row - 0.5, tall)
        weights = ((1 - down) * (1 - along), (1 - down) * along, down * (1 - along), down * along)
        corners = ((above, left), (above, right), (below, left), (below, right))
        packed = [tf.gather(pixels, begin + line * wide + place) for line, place in corners]
        colour = [
            tf.add_n([w * tf.cast((p // 2 ** (8 * c)) & 255, tf.float32) for w, p in zip(weights, packed, strict=True)])
            for c in range(3)
        ]
        blank = outside | hidden[frame]
        channels = []
        for c in range(3):
            changed = tf.add_n([matrix[frame, c, k] * colour[k] for k in range(3)]) + offset[frame, c]
            changed = tf.where(blank, fill[c], tf.clip_by_value(changed, 0.0, 255.0))
            channels.append(tf.cast(tf.round(changed), tf.int32))
        packed = channels[0] + channels[1] * 256 + channels[2] * 65536
        frames.append(tf.bitcast(packed, tf.uint8)[..., :3])
    return tf.stack(frames), tf.gather(labels, keys)


def _centres(height: int, width: int) -> tuple[tf.Tensor, tf.Tensor]:
    x, y = tf.range(width, dtype=tf.float32) + 0.5, tf.range(height, dtype=tf.float32) + 0.5
    return x[None, :], y[:, None]


def _neighbours(position: tf.Tensor, length: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The two pixels that a position lies between, and its way from the first to the second; the border is repeated."""
    position = tf.clip_by_value(position, 0.0, tf.cast(tf.maximum(length - 1, 0), tf.float32))
    first = tf.cast(tf.floor(position), tf.int32)
    second = tf.minimum(first + 1, tf.maximum(length - 1, 0))
    return first, second, position - tf.cast(first, tf.float32)
