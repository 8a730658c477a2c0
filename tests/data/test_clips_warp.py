"""Against loops over pixels in float64."""

import numpy as np
import pytest
import tensorflow as tf

from data.clips.warp import fixed_maps, join_buffers, relabel, render, warp_keys

H, W = 20, 26


def source_position(position_map, row, column):
    return position_map[:, :2] @ (column + 0.5, row + 0.5) + position_map[:, 2]


def bilinear(image, x, y):
    """Colour at a position in pixels, the border repeated; None outside."""
    height, width = image.shape[:2]
    if not (0 <= x < width and 0 <= y < height):
        return None
    x, y = np.clip(x - 0.5, 0, width - 1), np.clip(y - 0.5, 0, height - 1)
    left, top = int(x), int(y)
    right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
    fx, fy = x - left, y - top
    upper = (1 - fx) * image[top, left] + fx * image[top, right]
    lower = (1 - fx) * image[bottom, left] + fx * image[bottom, right]
    return (1 - fy) * upper + fy * lower


@pytest.fixture
def clip():
    """Sources: three frames, and two donors, of which the second is absent."""
    rng = np.random.default_rng(0)
    sizes = [(18, 25), (16, 30), (18, 25), (12, 9), (0, 0)]
    masks = [rng.integers(0, 4, size, np.uint8) for size in sizes]
    masks[3] //= 2  # 1 is the object
    images = [rng.integers(0, 256, (*size, 3), np.uint8) for size in sizes]
    turn = np.array([[0.9, 0.25], [-0.2, 0.8]])
    maps = np.array([[np.c_[turn * s, [t, 2 * t]] for s, t in pair] for pair in
                     (((1, 1), (0.5, -4), (1, 0)), ((1.1, -2), (0.5, 0), (1, 0)), ((0.7, 3), (0.6, 2), (1, 0)))])  # fmt: skip
    ids = np.zeros((5, 256), np.uint8)
    ids[:, 1:4] = [7, 0, 9]
    return sizes, masks, images, maps.astype(np.float32), ids


def start_and_buffer(parts, channels):
    return join_buffers([tf.constant(part.reshape(-1)) for part in parts], channels)[::-1]


def near_border(position_map, row, column):
    """Where rounding may decide either way."""
    fraction = source_position(position_map, row, column) % 1
    return (np.minimum(fraction, 1 - fraction) < 2e-3).any()


def expected_keys(sizes, masks, maps, ids):
    keys, doubtful = np.zeros((3, H, W), int), np.zeros((3, H, W), bool)
    for frame, row, column in np.ndindex(3, H, W):
        for source, k in ((frame, 0), (3, 1)):
            doubtful[frame, row, column] |= near_border(maps[frame, k], row, column)
            x, y = np.floor(source_position(maps[frame, k], row, column)).astype(int)
            if 0 <= y < sizes[source][0] and 0 <= x < sizes[source][1]:
                value = masks[source][y, x]
                if source == 3 and value == 1:
                    keys[frame, row, column] = 256
                elif source != 3:
                    keys[frame, row, column] = ids[source, value]
    return keys, doubtful


def test_keys(clip):
    sizes, masks, _, maps, ids = clip
    start, buffer = start_and_buffer(masks, 1)
    found = warp_keys(buffer, start, tf.constant(sizes), ids, tf.range(3), fixed_maps(maps), H, W).numpy()
    keys, doubtful = expected_keys(sizes, masks, maps, ids)
    assert set(np.unique(keys)) == {0, 7, 9, 256}
    assert doubtful.mean() < 0.05
    np.testing.assert_array_equal(found[~doubtful], keys[~doubtful])


def test_render(clip):
    sizes, masks, images, maps, ids = clip
    keys, _ = expected_keys(sizes, masks, maps, ids)
    rng = np.random.default_rng(1)
    matrix = (np.eye(3) * 0.9 + rng.normal(0, 0.1, (3, 3, 3))).astype(np.float32)
    offset = rng.normal(0, 10, (3, 3)).astype(np.float32)
    hidden = rng.random((3, H, W)) < 0.1
    start, buffer = start_and_buffer(images, 3)
    fill = np.int32([124, 116, 104])
    sources = (start, tf.constant(sizes), tf.range(3), fixed_maps(maps))
    found = render(buffer, *sources, tf.constant(keys, tf.int32), matrix, offset, fill, hidden).numpy()
    worst = blank = 0
    for frame, row, column in np.ndindex(3, H, W):
        donor = keys[frame, row, column] == 256
        x, y = source_position(maps[frame, int(donor)], row, column)
        colour = bilinear(images[3 if donor else frame].astype(float), x, y)
        if near_border(maps[frame, int(donor)], row, column):
            continue
        if colour is None or hidden[frame, row, column]:
            expected, blank = fill, blank + 1
        else:
            expected = np.clip(matrix[frame] @ colour + offset[frame], 0, 255)
        worst = max(worst, np.abs(found[frame, row, column] - expected).max())
    assert worst < 2.5  # rounding, and weights of eight bits
    assert 100 < blank < 800


def test_a_still_serves_all_frames(clip):
    sizes, masks, images, maps, ids = clip
    masks, images, sizes = masks[:1], images[:1], sizes[:1] + [(0, 0)] * 2
    maps = np.repeat(maps[:1, :1], 3, axis=0)
    start, buffer = start_and_buffer([masks[0], *[np.zeros(0, np.uint8)] * 2], 1)
    slot = tf.zeros(3, tf.int32)
    keys = warp_keys(buffer, start, tf.constant(sizes), ids, slot, fixed_maps(maps), H, W).numpy()
    assert (keys == keys[0]).all()
    assert keys.any()


def test_the_identity_changes_nothing():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (H, W, 3), np.uint8)
    maps = tf.tile(tf.constant([[[[1.0, 0, 0], [0, 1, 0]]]]), [3, 1, 1, 1])
    start, buffer = start_and_buffer([image, *[np.zeros(0, np.uint8)] * 2], 3)
    sources = (start, tf.constant([(H, W), (0, 0), (0, 0)]), tf.zeros(3, tf.int32), fixed_maps(maps))
    colours = (tf.eye(3, batch_shape=[3]), tf.zeros([3, 3]), tf.zeros(3, tf.int32), tf.zeros([3, H, W], tf.bool))
    np.testing.assert_array_equal(render(buffer, *sources, tf.zeros([3, H, W], tf.int32), *colours), [image] * 3)


def test_labels():
    keys = tf.constant([[[0, 7, 256], [1, 0, 257]]])
    labels = np.zeros(258, np.uint8)
    labels[[7, 256]] = [1, 2]
    np.testing.assert_array_equal(relabel(keys, labels), [[[0, 1, 2], [0, 0, 0]]])


def test_buffers_have_few_lengths():
    lengths = {join_buffers([tf.zeros(n, tf.uint8), tf.zeros(5, tf.uint8)], 1)[0].shape[0] for n in range(1, 200_000, 7001)}
    assert len(lengths) < 12
    joined, start = join_buffers([tf.zeros(300_000, tf.uint8), tf.ones(6, tf.uint8)], 3)
    assert start.numpy().tolist() == [0, 100_000]
    assert joined.numpy()[300_000:300_007].tolist() == [1] * 6 + [0]
