"""Tests the MOSE v2 metrics by comparison with results of the official evaluator and with loops over pixels."""

import itertools
import math
import re
from pathlib import Path

import numpy as np
import pytest

from hmmn_jax.errors import DataError
from hmmn_jax.metrics import mose2
from hmmn_jax.metrics.bitmaps import dilate, pack_masks
from hmmn_jax.metrics.davis import score_sequence, summarize
from tests.metrics.test_jf import blobs

GOLDEN = Path(__file__).parent.parent / "golden"


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN / "mose2.npz") as archive:
        return dict(archive)


def score_case(golden, video):
    def masks(kind, names):
        return dict(zip(golden[f"{video}_{names}"].tolist(), golden[f"{video}_{kind}"], strict=True))

    return mose2.score_video(masks("pred", "pred_names"), masks("gt", "names"), golden[f"{video}_ids"].tolist(), video)


def test_figures_of_the_official_evaluator(golden):
    videos = {video: score_case(golden, video) for video in golden["videos"].tolist()}
    for name, scores in videos.items():
        for kind, found in (("J", scores.j), ("F", scores.f), ("Fdot", scores.adaptive_f)):
            np.testing.assert_allclose(found, golden[f"{name}_{kind}"], rtol=0, atol=1e-9, err_msg=f"{name} {kind}")
        np.testing.assert_allclose(
            mose2.object_figures(scores), golden[f"{name}_scores"], rtol=0, atol=1e-9, equal_nan=True, err_msg=name
        )
    for total, names in (("total", golden["videos"]), ("total_calm", golden["calm"])):
        found = mose2.total(videos[name] for name in names.tolist())
        assert tuple(found) == mose2.COLUMNS
        np.testing.assert_allclose([*found.values()], golden[total], rtol=0, atol=1e-9, equal_nan=True)


def near_by_loops(marked, radius):
    """Dilates the marked pixels by a disk, with a loop over the taps of the disk."""
    (height, width), near = marked.shape, np.zeros_like(marked)
    taps = math.ceil(2 * radius + 1)
    members = [
        (i, j) for i, j in itertools.product(range(taps), repeat=2) if (i - radius) ** 2 + (j - radius) ** 2 <= radius**2
    ]
    marked = np.pad(marked, taps)  # pixels outside of the image are not marked
    for i, j in members or [(0, 0)]:  # OpenCV 5.0 treats an empty kernel as a kernel with the tap (0, 0)
        top, left = taps + i - taps // 2, taps + j - taps // 2
        near |= marked[top : top + height, left : left + width]
    return near


def boundary(mask):
    """Returns a mask of pixels that differ from the pixel to the right, below or diagonally below, as in DAVIS."""
    east, south, both = (np.pad(mask, ((0, dy), (0, dx)))[dy:, dx:] for dy, dx in ((0, 1), (1, 0), (1, 1)))
    found = (mask ^ east) | (mask ^ south) | (mask ^ both)
    found[-1], found[:, -1] = (mask ^ east)[-1], (mask ^ south)[:, -1]
    found[-1, -1] = False
    return found


def f_by_loops(pred, truth, radius):
    pred, truth = boundary(pred), boundary(truth)
    if not pred.any() or not truth.any():
        return float(not pred.any() and not truth.any())
    precision = (near_by_loops(truth, radius) & pred).sum() / pred.sum()
    recall = (near_by_loops(pred, radius) & truth).sum() / truth.sum()
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


# The tolerances are 0.46, 0.57, 0.71, 1.01, 1.20, 1.68, 2.10 and 3.52 pixels. For the first two, the kernel is empty.
@pytest.mark.parametrize(
    ("height", "width"), [(40, 42), (50, 51), (61, 64), (23, 124), (150, 5), (65, 200), (130, 228), (70, 435)]
)
def test_loops_agree(height, width):
    rng = np.random.default_rng(height * 1000 + width)
    pred, truth = blobs(rng, height, width, 3), blobs(rng, height, width, 3)
    # Object 4 is long and thin. Whether an object is small enough for the adaptive tolerance depends only on its area.
    truth[rng.integers(height) :, : rng.integers(2, 5)] = 4
    pred[rng.integers(height) :, : rng.integers(2, 5)] = 4
    truth[0, -1] = pred[1, -2] = 5
    j, f, adaptive_f, empty = mose2.frame_scores(pred, truth, 6)
    tolerance = 0.008 * math.hypot(height, width)
    for k in range(1, 7):
        p, t = pred == k, truth == k
        assert j[k - 1] == pytest.approx(((p & t).sum() + 1) / ((p | t).sum() + 1), abs=1e-12)
        assert empty[k - 1] == (not t.any())
        own = math.ceil(0.1 * math.sqrt(t.sum()))
        radii = (math.ceil(tolerance), own) if own < tolerance else (tolerance, tolerance)
        found = [f_by_loops(p, t, radius) for radius in radii]
        assert [f[k - 1], adaptive_f[k - 1]] == pytest.approx(found, abs=1e-12), k


@pytest.mark.parametrize("radius", [0.3, 0.5, 0.58, 0.6, 1.2, 1.5, 1.8, 2.3, 2.9, 4, 7.837, 11.749, 70.4])
def test_disks_of_any_radius(radius):
    """Dilates pixels at all edges of a mask and at the ends of 64-bit words.

    A disk at one edge must not continue at the opposite edge.
    """
    height, width = 13, 150
    masks = np.zeros((2, height, width), bool)
    for y, x in ((0, 0), (0, 149), (12, 0), (12, 149), (6, 63), (6, 64), (3, 128)):
        masks[0, y, x] = masks[1, height - 1 - y, (x + 75) % width] = True
    near = dilate(pack_masks(masks), radius)
    for mask, found in zip(masks, near, strict=True):
        bits = np.unpackbits(np.ascontiguousarray(found.T).view(np.uint8), axis=1, bitorder="little")[:, :width]
        np.testing.assert_array_equal(bits, near_by_loops(mask, radius))


def test_a_full_frame_has_no_boundary():
    full, empty, some = np.ones((3, 40, 60), np.uint8)
    empty[:], some[20:] = 0, 0
    scores = mose2.frame_scores(full, empty, 1)
    assert [x.item() for x in scores] == [1 / 2401, 1, 1, True]
    assert [x.item() for x in mose2.frame_scores(some, empty, 1)] == [1 / 1201, 0, 0, True]
    assert [x.item() for x in mose2.frame_scores(empty, empty, 1)] == [1, 1, 1, True]
    assert [x.item() for x in mose2.frame_scores(empty, full, 1)] == [1 / 2401, 1, 1, False]


@pytest.mark.parametrize(
    ("seen", "gone", "back"),
    [
        ("11111", [], []),
        ("11011", [(2, 3)], [(3, 5)]),
        ("01100", [(3, 5)], [(1, 3)]),  # an absence that starts in the first scored frame is not a disappearance
        ("00000", [], []),
        ("10101", [(1, 2), (3, 4)], [(2, 3), (4, 5)]),
        ("", [], []),
    ],
)
def test_segments(seen, gone, back):
    empty = np.array([s == "0" for s in seen], bool)
    assert [(run.start, run.stop) for run in mose2.disappearances(empty)] == gone
    assert [(run.start, run.stop) for run in mose2.reappearances(empty)] == back


def video(frames, **masks):
    return {f"{t:05d}": masks.get(f"m{t}", np.ones((8, 8), np.uint8)) for t in frames}


def test_frames_are_counted_by_place():
    assert mose2.server_frames(video(range(6)), 6, "v") == ["00001", "00002", "00003", "00004"]
    assert mose2.server_frames(video([0, 1, 3, 4, 5]), 6, "v") == ["00001", "00003", "00004", "00005"]
    assert mose2.server_frames(video(range(9)), 6, "v") == ["00001", "00002", "00003", "00004"]
    assert mose2.server_frames(["10", "9", "8", "7"], 4, "v") == ["8", "9"]  # frames are sorted by number
    assert mose2.server_frames([], 2, "v") == []
    with pytest.raises(DataError, match=r"v: a mask is named x\.png"):
        mose2.server_frames(["x"], 1, "v")


@pytest.mark.parametrize(
    ("frames", "said"),
    [
        (range(4), "v: the result contains 4 masks for 6 frames"),
        (range(5), None),  # only the mask of the last frame is missing, and that frame is not scored
        ((0, 1, 9, 10, 11), "v, frame 00009: the shape of the mask is (8, 8), but the shape of the annotation is unknown"),
    ],
)
def test_where_the_server_stops(frames, said):
    pred, truth = video(frames), video(range(6))
    if said is None:
        assert mose2.score_video(pred, truth, [1], "v").j.tolist() == [[1, 1, 1, 1]]
    else:
        with pytest.raises(DataError, match=re.escape(said)):
            mose2.score_video(pred, truth, [1], "v")
    with pytest.raises(DataError, match="frame 00003: the shape of the mask"):
        mose2.score_video(video(range(6), m3=np.ones((8, 9), np.uint8)), truth, [1], "v")


def test_ids_with_gaps_and_255():
    truth, pred = np.zeros((2, 5, 30, 40), np.uint8)
    truth[:, 2:9, 2:9], truth[:, 12:20, 12:20] = 255, 7
    # Id 9 is ignored, and its pixels are missing from the prediction of object 7.
    pred[:, 2:9, 2:9], pred[:, 12:16, 12:20], pred[:, 16:20, 12:20] = 255, 7, 9
    names = [f"{t:05d}" for t in range(5)]
    scores = mose2.score_video(dict(zip(names, pred, strict=True)), dict(zip(names, truth, strict=True)), [255, 7, 12], "v")
    assert scores.ids == (255, 7, 12) and scores.frame_names == ("00001", "00002", "00003")
    assert scores.j.tolist() == [[1] * 3, [33 / 65] * 3, [1] * 3]
    assert scores.empty.tolist() == [[False] * 3, [False] * 3, [True] * 3]
    one = scores.of_object(7)
    assert one.ids == (7,) and one.adaptive_f.shape == (1, 3) and mose2.total([one])["J"] == pytest.approx(100 * 33 / 65)


def test_mose1_is_davis_with_255_as_an_id_of_the_result():
    with np.load(GOLDEN / "mose1.npz") as golden:
        videos = [score_sequence(golden[f"{v}_pred"], golden[f"{v}_gt"], void_in_result=False) for v in golden["videos"]]
        for v, scores in zip(golden["videos"], videos, strict=True):
            np.testing.assert_allclose(scores.j, golden[f"{v}_J"], rtol=0, atol=1e-9)
            np.testing.assert_allclose(scores.f, golden[f"{v}_F"], rtol=0, atol=1e-9)
            stats = [[*summarize([scores.of_object(i)]).figures.values()][1:] for i in scores.ids]
            np.testing.assert_allclose(stats, golden[f"{v}_stats"], rtol=0, atol=1e-9)
        np.testing.assert_allclose([*summarize(videos).figures.values()], golden["total"], rtol=0, atol=1e-9)
        pred = golden["void_pred"].copy()
        pred[3, 0, 0] = 255
        with pytest.raises(DataError, match="the id 255"):
            score_sequence(pred, golden["void_gt"], void_in_result=False)
