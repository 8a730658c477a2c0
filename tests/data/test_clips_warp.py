"""Compares warped images and masks with loops over pixels in float64."""

import numpy as np
import pytest

from data.clips.warp import relabel, render, warp_masks

H, W = 20, 26
FILL = (124, 116, 104)
NOTHING = np.zeros((0, 0), np.uint8)
SOURCES = np.array([[0, 3, 4], [1, 3, 4], [2, 3, 4]])  # for each frame, the source of the frame itself and of two donors


def source_position(position_map, row, column):
    return position_map[:, :2] @ (column + 0.5, row + 0.5) + position_map[:, 2]


def bilinear(image, x, y):
    """Returns the interpolated colour at a position in pixels. Pixels outside of the image have the fill colour."""
    left, top = int(np.floor(x - 0.5)), int(np.floor(y - 0.5))
    padded = np.full((image.shape[0] + 4, image.shape[1] + 4, 3), FILL, float)
    padded[2:-2, 2:-2] = image
    if not (-2 <= left <= image.shape[1] and -2 <= top <= image.shape[0]):
        return np.array(FILL)
    fx, fy = x - 0.5 - left, y - 0.5 - top
    near = padded[top + 2 : top + 4, left + 2 : left + 4]
    upper, lower = ((1 - fx) * row[0] + fx * row[1] for row in near)
    return (1 - fy) * upper + fy * lower


@pytest.fixture
def clip():
    """Returns the sizes, masks, images, maps and ids of five sources: three frames, a donor and a missing donor."""
    rng = np.random.default_rng(0)
    sizes = [(18, 25), (16, 30), (18, 25), (12, 9), (0, 0)]
    masks = [rng.integers(0, 4, size, np.uint8) for size in sizes]
    masks[3] //= 2  # 1 inside the object of the donor, otherwise 0
    images = [rng.integers(0, 256, (*size, 3), np.uint8) for size in sizes]
    turn = np.array([[0.9, 0.25], [-0.2, 0.8]])
    maps = np.array([[np.c_[turn * s, [t, 2 * t]] for s, t in pair] for pair in
                     (((1, 1), (0.5, -4), (1, 0)), ((1.1, -2), (0.5, 0), (1, 0)), ((0.7, 3), (0.6, 2), (1, 0)))])  # fmt: skip
    ids = np.zeros((5, 256), np.uint8)
    ids[:, 1:4] = [7, 0, 9]
    return sizes, masks, images, maps.astype(np.float32), ids


def near_border(position_map, row, column):
    """Returns whether the source position is so close to the border of a pixel that rounding is ambiguous."""
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


def test_masks(clip):
    sizes, masks, _, maps, ids = clip
    seen, donors, areas = warp_masks(masks, ids, SOURCES, maps, (H, W))
    keys, doubtful = expected_keys(sizes, masks, maps, ids)
    assert set(np.unique(keys)) == {0, 7, 9, 256}
    assert doubtful.mean() < 0.05
    np.testing.assert_array_equal(seen[~doubtful], np.where(keys > 255, 0, keys)[~doubtful])
    np.testing.assert_array_equal(donors[~doubtful], keys[~doubtful] // 256)
    assert areas[0] == 0
    for key in (7, 9, 256, 257):
        assert areas[key] == (donors[0] == key - 255 if key > 255 else seen[0] == key).sum()


def test_the_last_donor_lies_on_top():
    identity = np.tile(np.float32([[1, 0, 0], [0, 1, 0]]), (3, 3, 1, 1))
    full, half = np.ones((H, W), np.uint8), np.ones((H, W // 2), np.uint8)
    ids = np.tile(np.arange(256, dtype=np.uint8), (5, 1))
    seen, donors, areas = warp_masks([full, NOTHING, NOTHING, full, half], ids, SOURCES * [0, 1, 1], identity, (H, W))
    assert not seen.any()
    np.testing.assert_array_equal(donors[:, :, : W // 2], 2)
    np.testing.assert_array_equal(donors[:, :, W // 2 :], 1)
    assert areas[256:].tolist() == [H * W // 2] * 2


def test_render(clip):
    sizes, masks, images, maps, ids = clip
    keys, _ = expected_keys(sizes, masks, maps, ids)
    rng = np.random.default_rng(1)
    images = [np.clip(image, 60, 190) for image in images]  # so that the colour transforms do not clip colours
    colours = np.concatenate([np.eye(3) * 0.9 + rng.normal(0, 0.1, (3, 3, 3)), rng.normal(0, 10, (3, 3, 1))], -1)
    hidden = rng.random((3, H, W)) < 0.1
    found = render(images, SOURCES, maps, (keys // 256).astype(np.uint8), colours.astype(np.float32), hidden, FILL)
    worst = blank = 0
    for frame, row, column in np.ndindex(3, H, W):
        donor = keys[frame, row, column] == 256
        x, y = source_position(maps[frame, int(donor)], row, column)
        image = images[3 if donor else frame] @ colours[frame, :, :3].T + colours[frame, :, 3]
        expected = np.array(FILL) if hidden[frame, row, column] else bilinear(np.clip(image, 0, 255), x, y)
        blank += (expected == FILL).all()
        worst = max(worst, np.abs(found[frame, row, column] - expected).max())
    assert worst < 1.1  # the colour transform and the warp both round to integers
    assert 100 < blank < 800


def test_a_still_serves_all_frames(clip):
    _, masks, images, maps, ids = clip
    maps, sources = np.repeat(maps[:1, :1], 3, axis=0), np.zeros((3, 1), int)
    seen, donors, _ = warp_masks([masks[0], NOTHING, NOTHING], ids, sources, maps, (H, W))
    assert (seen == seen[0]).all()
    assert seen.any()
    frames = render([images[0]] + [np.zeros((0, 0, 3), np.uint8)] * 2, sources, maps, donors, PLAIN, NOT_HIDDEN, FILL)
    assert (frames == frames[0]).all()
    assert np.ptp(frames) > 200


PLAIN = np.tile(np.eye(3, 4, dtype=np.float32), (3, 1, 1))
NOT_HIDDEN = np.zeros((3, H, W), bool)


def test_the_identity_changes_nothing():
    image = np.random.default_rng(0).integers(0, 256, (H, W, 3), np.uint8)
    maps = np.tile(np.float32([[1, 0, 0], [0, 1, 0]]), (3, 1, 1, 1))
    frames = render([image], np.zeros((3, 1), int), maps, np.zeros((3, H, W), np.uint8), PLAIN, NOT_HIDDEN, FILL)
    np.testing.assert_array_equal(frames, [image] * 3)


def test_labels():
    labels = np.zeros(258, np.uint8)
    labels[[7, 256]] = [1, 2]
    seen, donors = np.uint8([[[0, 7, 0], [1, 0, 0]]]), np.uint8([[[0, 0, 1], [0, 0, 2]]])
    np.testing.assert_array_equal(relabel(seen, donors, labels), [[[0, 1, 2], [0, 0, 0]]])
