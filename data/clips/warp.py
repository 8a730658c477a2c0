"""Warps: one look-up per pixel of the output, compiled by XLA, whatever is pasted or transformed.

The pixels of all s sources of a clip (its frames, then its donors) lie in one flat buffer, source k from `start[k]` on, with
`size[k]` = (height, width). Maps go from output positions to positions in a source, as in `affine.py`. The `key` of an output
pixel says what is seen there: 0 background, 1 to 255 the object of that id, 256 + d the object that donor d gave.

All arithmetic is in integers. XLA may contract a float product and sum or not, from one compilation to the next, and then
the same sample would not always have the same bytes.
"""

import tensorflow as tf

from data.clips.tables import CLIP

DONOR_KEY = 256
POSITION_BITS = 15  # after the point, in positions; positions reach 2^16 pixels
WEIGHT_BITS = 8  # in the weights of neighbours
COLOUR_BITS = 4  # in interpolated colours
MATRIX_BITS = 12  # in the matrices of colours, whose entries are below 8

_right = tf.bitwise.right_shift
_left = tf.bitwise.left_shift
_compiled = tf.function(jit_compile=True, autograph=False)


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


def fixed_maps(maps: tf.Tensor) -> tf.Tensor:
    """Rounds maps [...,2,3] to int32, to be applied to the numbers of rows and columns, whose centres are at +0.5."""
    offset = maps[..., 2] + (maps[..., 0] + maps[..., 1]) / 2
    return tf.cast(tf.round(tf.stack([maps[..., 0], maps[..., 1], offset], -1) * 2**POSITION_BITS), tf.int32)


@_compiled
def warp_keys(
    values: tf.Tensor,
    start: tf.Tensor,
    size: tf.Tensor,
    ids: tf.Tensor,
    slot: tf.Tensor,
    maps: tf.Tensor,
    height: int,
    width: int,
) -> tf.Tensor:
    """Warps masks to the nearest pixel and lays donors over them, the last on top.

    Args:
        values: uint8 [n], raw values of the frames' masks, and 1 where a donor's object is.
        start, size: int32 [s] and [s,2]. Donors of size 0 are absent.
        ids: uint8 [s,256], object id of each value.
        slot: int32 [3], source of each frame; donor d is source 3 + d.
        maps: int32 [3,1+d,2,3] of `fixed_maps`: for each frame its own, then those of the donors.
        height, width: of the output.

    Returns keys, int32 [3,height,width].
    """

    def look_up(source: tf.Tensor | int, position_map: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        column, row = (_right(place, POSITION_BITS) for place in _positions(position_map, height, width))
        tall, wide = size[source][0], size[source][1]
        inside = (column >= 0) & (column < wide) & (row >= 0) & (row < tall)
        place = tf.where(inside, start[source] + row * wide + column, 0)
        return inside, tf.cast(tf.gather(values, place), tf.int32)

    frames = []
    for frame in range(CLIP):
        inside, value = look_up(slot[frame], maps[frame, 0])
        key = tf.where(inside, tf.gather(tf.cast(ids[slot[frame]], tf.int32), value), 0)
        for donor in range(maps.shape[1] - 1):
            inside, value = look_up(CLIP + donor, maps[frame, 1 + donor])
            key = tf.where(inside & (value == 1), DONOR_KEY + donor, key)
        frames.append(key)
    return tf.stack(frames)


def render(
    colours: tf.Tensor,
    start: tf.Tensor,
    size: tf.Tensor,
    slot: tf.Tensor,
    maps: tf.Tensor,
    keys: tf.Tensor,
    matrix: tf.Tensor,
    offset: tf.Tensor,
    fill: tf.Tensor,
    hidden: tf.Tensor,
) -> tf.Tensor:
    """Renders the frames of a clip, interpolated bilinearly, uint8 [3,H,W,3].

    Args:
        colours: uint8 [3n], RGB of all sources.
        start, size, slot, maps: as in `warp_keys`, for the sources of `colours`.
        keys: int32 [3,H,W].
        matrix, offset: float32 [3,3,3] and [3,3], the change of colour of each frame.
        fill: int32 [3], colour outside of the image, and of what is hidden.
        hidden: bool [3,H,W].
    """
    # Four programs: in one, XLA puts arithmetic and look-ups into one loop without vectors, which takes twice as long.
    place, right, below, along, down, outside = _aim(start, size, slot, maps, keys)
    corners = _look_up(_pack(colours), place, right, below)
    matrix = tf.cast(tf.round(matrix * 2**MATRIX_BITS), tf.int32)
    offset = tf.cast(tf.round(offset * 2 ** (MATRIX_BITS + COLOUR_BITS)), tf.int32)
    return _blend(*corners, along, down, outside | hidden, matrix, offset, fill)


@_compiled
def _aim(start: tf.Tensor, size: tf.Tensor, slot: tf.Tensor, maps: tf.Tensor, keys: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Which pixel lies above and left of each output pixel, the ways to its neighbours, their weights, and what is outside."""
    _, height, width = keys.shape
    one = 1 << POSITION_BITS
    frames = []
    for frame in range(CLIP):
        source = slot[frame]
        begin, tall, wide = start[source], size[source][0], size[source][1]
        column, row = _positions(maps[frame, 0], height, width)
        for donor in range(maps.shape[1] - 1):
            mine, source = keys[frame] == DONOR_KEY + donor, CLIP + donor
            begin = tf.where(mine, start[source], begin)
            tall, wide = tf.where(mine, size[source][0], tall), tf.where(mine, size[source][1], wide)
            pasted = _positions(maps[frame, 1 + donor], height, width)
            column, row = tf.where(mine, pasted[0], column), tf.where(mine, pasted[1], row)
        outside = (column < 0) | (column >= wide * one) | (row < 0) | (row >= tall * one)
        column = tf.maximum(tf.minimum(column - one // 2, (wide - 1) * one), 0)  # the border is repeated
        row = tf.maximum(tf.minimum(row - one // 2, (tall - 1) * one), 0)
        left, above = _right(column, POSITION_BITS), _right(row, POSITION_BITS)
        along, down = (_right(place & (one - 1), POSITION_BITS - WEIGHT_BITS) for place in (column, row))
        right, below = tf.where(left + 1 < wide, 1, 0), tf.where(above + 1 < tall, wide, 0)
        frames.append((begin + above * wide + left, right, below, along, down, outside))
    return tuple(tf.stack(parts) for parts in zip(*frames, strict=True))


@_compiled
def _pack(colours: tf.Tensor) -> tf.Tensor:
    """Puts the three bytes of a pixel into one integer, so that one load gets them."""
    return tf.bitcast(tf.pad(tf.reshape(colours, [-1, 3]), [[0, 0], [0, 1]]), tf.int32)


@_compiled
def _look_up(pixels: tf.Tensor, place: tf.Tensor, right: tf.Tensor, below: tf.Tensor) -> tuple[tf.Tensor, ...]:
    return tuple(tf.gather(pixels, place + step) for step in (0, right, below, right + below))


@_compiled
def _blend(
    above_left: tf.Tensor,
    above_right: tf.Tensor,
    below_left: tf.Tensor,
    below_right: tf.Tensor,
    along: tf.Tensor,
    down: tf.Tensor,
    blank: tf.Tensor,
    matrix: tf.Tensor,
    offset: tf.Tensor,
    fill: tf.Tensor,
) -> tf.Tensor:
    """Interpolates packed pixels, changes their colours, and unpacks them."""
    whole = 1 << WEIGHT_BITS

    def interpolated(channel: int) -> tf.Tensor:
        corners = (above_left, above_right, below_left, below_right)
        a, b, c, d = (_right(corner, 8 * channel) & 255 for corner in corners)
        above, below = a * whole + (b - a) * along, c * whole + (d - c) * along
        return _right(above * whole + (below - above) * down, 2 * WEIGHT_BITS - COLOUR_BITS)

    colour = [interpolated(channel) for channel in range(3)]
    bits = MATRIX_BITS + COLOUR_BITS
    packed = 0
    for channel in range(3):
        parts = [matrix[:, channel, k, None, None] * colour[k] for k in range(3)]
        changed = parts[0] + parts[1] + parts[2] + (offset[:, channel, None, None] + (1 << (bits - 1)))
        changed = tf.maximum(tf.minimum(_right(changed, bits), 255), 0)
        packed += _left(tf.where(blank, fill[channel], changed), 8 * channel)
    return tf.bitcast(packed, tf.uint8)[..., :3]


@_compiled
def relabel(keys: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Gives each key, int32 [3,H,W], its id in the output; `labels` is uint8 [256+d]."""
    return tf.gather(labels, keys)


def _positions(position_map: tf.Tensor, height: int, width: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Column and row, int32 [height,width], of all output pixels in the source of a map of `fixed_maps`."""
    x, y = tf.range(width)[None, :], tf.range(height)[:, None]
    column, row = (line[0] * x + line[1] * y + line[2] for line in (position_map[0], position_map[1]))
    return column, row
