"""Tests J and F of single frames by comparison with results of the official toolkit and with loops over pixels."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from hmmn_jax.metrics.jf import boundary_f, boundary_radius, frame_scores, jaccard

GOLDEN = Path(__file__).parent.parent / "golden" / "jf_cases.npz"


@pytest.mark.parametrize("case", ["0", "1", "2", "3", "4", "corner"])
def test_figures_of_the_official_toolkit(case):
    with np.load(GOLDEN) as golden:
        truth, pred, j, f = (golden[f"{name}_{case}"] for name in ("gt", "pred", "J", "F"))
    for t in range(len(truth)):
        found_j, found_f = frame_scores(pred[t], truth[t], objects=len(j))
        np.testing.assert_allclose(found_j, j[:, t], rtol=0, atol=1e-9)
        np.testing.assert_allclose(found_f, f[:, t], rtol=0, atol=1e-9)


def j_by_loops(pred, truth):
    pairs = list(zip(pred.ravel().tolist(), truth.ravel().tolist(), strict=True))
    union = sum(a or b for a, b in pairs)
    return sum(a and b for a, b in pairs) / union if union else 1.0


def boundary_by_loops(mask):
    """Returns the pixels that differ from the neighbour to the right, below, or diagonally below.

    The last row is compared only with neighbours to the right, and the last column only with neighbours below.
    """
    height, width = mask.shape
    found = []
    for y, x in itertools.product(range(height), range(width)):
        if y == height - 1:
            neighbours = [(y, x + 1)]
        elif x == width - 1:
            neighbours = [(y + 1, x)]
        else:
            neighbours = [(y, x + 1), (y + 1, x), (y + 1, x + 1)]
        if (y, x) != (height - 1, width - 1) and any(mask[y, x] != mask[neighbour] for neighbour in neighbours):
            found.append((y, x))
    return found


def share_found(boundary, other, radius):
    """Returns the fraction of pixels of `boundary` that are at most `radius` pixels away from `other`."""
    distances = np.hypot(*(np.array(boundary)[:, None] - np.array(other)).transpose(2, 0, 1))
    return (distances <= radius).any(axis=1).mean()


def f_by_loops(pred, truth, radius):
    pred, truth = boundary_by_loops(pred), boundary_by_loops(truth)
    if pred and truth:
        precision, recall = share_found(pred, truth, radius), share_found(truth, pred, radius)
    elif truth:
        precision, recall = 1, 0
    elif pred:
        precision, recall = 0, 1
    else:
        precision, recall = 1, 1
    return 2 * precision * recall / (precision + recall) if precision + recall else 0


def blobs(rng, height, width, objects):
    """Returns a mask of overlapping rectangles, one per object. Some single pixels have random ids."""
    ids = np.zeros((height, width), np.uint8)
    for k in range(1, objects + 1):
        top, left = rng.integers(0, height), rng.integers(0, width)
        ids[top : top + rng.integers(1, height + 1), left : left + rng.integers(1, width + 1)] = k
    speckle = rng.random(ids.shape) < 0.01
    return np.where(speckle, rng.integers(0, objects + 1, ids.shape), ids).astype(np.uint8)


# Masks are packed into words of 64 columns, so some widths are close to multiples of 64. The tolerance of F is 1 to 3
# pixels.
@pytest.mark.parametrize(
    ("height", "width"), [(1, 1), (1, 70), (9, 63), (17, 64), (8, 65), (130, 1), (5, 129), (3, 200), (12, 256)]
)
def test_loops_agree(height, width):
    rng = np.random.default_rng(height * 1000 + width)
    for objects in (1, 2, 5):
        pred, truth = blobs(rng, height, width, objects), blobs(rng, height, width, objects)
        j, f = frame_scores(pred, truth, objects)
        for k in range(1, objects + 1):
            assert j[k - 1] == pytest.approx(j_by_loops(pred == k, truth == k), abs=1e-12)
            radius = boundary_radius(height, width)
            assert f[k - 1] == pytest.approx(f_by_loops(pred == k, truth == k, radius), abs=1e-12)


@pytest.mark.parametrize("radius", [2, 5, 8, 9, 11, 12, 13, 18])
def test_loops_agree_along_the_edges_of_the_frame(radius):
    """Compares a mask of a few pixels at the edges with a mask of many pixels near the edges.

    For F, boundary pixels are dilated to disks. The edges of the frame crop the disks around the few pixels. The other mask has
    so many pixels that any error in a cropped disk would change F.
    """
    rng = np.random.default_rng(radius)
    height, width = 2 * radius, radius * 125 - 5
    few, many = np.zeros((2, height, width), bool)
    for near, edge in ((slice(2 * radius), 0), (slice(-2 * radius, None), -1)):
        many[:, near] = rng.random((height, 2 * radius)) < 0.2
        few[rng.choice(height, 2), edge] = True
    assert boundary_radius(height, width) == radius
    for a, b in ((few, many), (few.T, many.T)):
        expected = pytest.approx(f_by_loops(a, b, radius), abs=1e-12)
        assert boundary_f(a, b) == expected and boundary_f(b, a) == expected  # F is symmetric


@pytest.mark.parametrize("height", [2, 6])
def test_loops_agree_where_the_tolerance_exceeds_a_word(height):
    pred, truth = np.zeros((2, height, 9000), bool)
    pred[0, [1000, 3000, 5000]] = truth[-1, [1072, 3073, 4990]] = True  # horizontal distances of 72, 73 and 10
    assert boundary_radius(height, 9000) == 73
    assert boundary_f(pred, truth) == pytest.approx(f_by_loops(pred, truth, 73), abs=1e-12)
    assert 0 < boundary_f(pred, truth) <= 1


@pytest.mark.parametrize(
    ("height", "width", "radius"), [(480, 854, 8), (600, 800, 8), (601, 800, 9), (300, 400, 4), (1, 1, 1), (2160, 4096, 38)]
)
def test_radius_is_rounded_up_from_8_thousandths_of_the_diagonal(height, width, radius):
    assert boundary_radius(height, width) == radius


def test_a_tolerance_is_a_disk():
    """At 480x854, the radius of the disk is 8 pixels. Offsets (8, 0) and (5, 6) are inside the disk, and (6, 6) is outside."""
    for dy, dx, f in [(8, 0, 1), (0, 8, 1), (5, 6, 1), (6, 6, None), (9, 0, None)]:
        pred, truth = np.zeros((2, 480, 854), bool)
        pred[200, 300] = truth[200 + dy, 300 + dx] = True
        if f == 1:
            assert boundary_f(pred, truth) == 1
        else:
            assert boundary_f(pred, truth) < 1


def test_empty_and_full_frames():
    empty, full, some = np.zeros((40, 70), bool), np.ones((40, 70), bool), np.zeros((40, 70), bool)
    some[10:20, 10:20] = True
    assert jaccard(empty, empty) == 1 and boundary_f(empty, empty) == 1
    assert jaccard(empty, some) == 0 and boundary_f(empty, some) == 0 and boundary_f(some, empty) == 0
    # A full frame has no boundary, so F is the same as for an empty mask.
    assert jaccard(full, full) == 1 and boundary_f(full, full) == 1
    assert jaccard(full, empty) == 0 and boundary_f(full, empty) == 1
    assert jaccard(full, some) == 100 / 2800 and boundary_f(full, some) == 0


def test_the_last_row_and_column():
    """The last row and column are compared only along the border, so the bottom right pixel is never marked."""
    corner, above = np.zeros((2, 48, 64), bool)
    corner[-1, -1] = True  # the boundary is the pixels to the left, above, and diagonally above
    above[-2, -2] = True  # the boundary is this pixel and those to the left, above, and diagonally above
    assert sorted(boundary_by_loops(corner)) == [(46, 62), (46, 63), (47, 62)]
    assert boundary_f(corner, above) == pytest.approx(f_by_loops(corner, above, 1), abs=1e-12)
    assert boundary_f(corner, above) < 1
    row, column = np.zeros((2, 48, 64), bool)
    row[-1] = True  # the boundary is the row above
    column[:, -1] = True
    assert boundary_f(row, column) == pytest.approx(f_by_loops(row, column, 1), abs=1e-12)


def test_ids_beyond_the_objects_are_background():
    pred, truth = np.zeros((2, 20, 30), np.uint8)
    pred[5:10, 5:10] = truth[5:10, 5:10] = 1
    truth[12:, 12:] = 255
    pred[0, 0] = 3  # id 3 is 11 in binary, and must not set the bits of ids 1 and 2
    j, f = frame_scores(pred, truth, objects=2)
    assert j.tolist() == [1, 1] and f.tolist() == [1, 1]
