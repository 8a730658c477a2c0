"""Tests the LVOS metrics with results of the official evaluator and with cases computed by hand."""

import math
from pathlib import Path

import numpy as np
import pytest

from hmmn_jax.errors import DataError
from hmmn_jax.metrics import lvos
from hmmn_jax.metrics.jf import boundary_f, jaccard
from hmmn_jax.metrics.lvos import FrameRange

GOLDEN = Path(__file__).parent.parent / "golden" / "lvos.npz"


def test_figures_of_the_official_evaluator():
    with np.load(GOLDEN) as golden:
        scores = {}
        for v in golden["videos"].tolist():
            names = golden[f"{v}_names"].tolist()
            pred, truth = (dict(zip(names, golden[f"{v}_{kind}"], strict=True)) for kind in ("pred", "gt"))
            ranges = {i: FrameRange(*rest) for i, *rest in golden[f"{v}_objects"].tolist()}
            found = scores[v] = lvos.score_video(pred, truth, ranges, bool(golden[f"{v}_unseen"]), v)
            assert found.ids == tuple(ranges)
            for kind, values in (("J", found.j), ("F", found.f)):
                for row, slots, expected in zip(values, found.slots.tolist(), golden[f"{v}_{kind}"], strict=True):
                    np.testing.assert_allclose(lvos.slot_values(row, slots), expected[:slots], rtol=0, atol=1e-9)
                    assert np.isnan(expected[slots:]).all()
            np.testing.assert_allclose(lvos.object_figures(found), golden[f"{v}_JFV"], rtol=0, atol=1e-9, err_msg=v)
        for total, videos in (("total", scores), ("total_seen_only", golden["seen_only"].tolist())):
            figures = lvos.total(scores[v] for v in videos)
            assert tuple(figures) == lvos.COLUMNS
            np.testing.assert_allclose([*figures.values()], golden[total], rtol=0, atol=1e-9, equal_nan=True)


@pytest.mark.parametrize(
    ("object_range", "scored", "slots"),
    [
        (FrameRange(1, 21, 4), [6, 11], 2),  # of the frames 1, 6, 11 and 16, the first and the last are not scored
        (FrameRange(1, 16, 4), [6, 11], 2),  # frame 16 is outside of the range, so the last scored frame is 11
        (FrameRange(1, 12, 3), [6], 1),
        (FrameRange(31, 46, 6), [36, 41], 4),  # the mean is over four values; the two values without a frame are 0
        (FrameRange(1, 7, 2), [], 0),
        (FrameRange(1, 1, 3), [], 1),
    ],
)
def test_frames_of_an_object(object_range, scored, slots):
    assert object_range.scored == scored and object_range.slots == slots


@pytest.mark.parametrize(("start", "end", "frame_nums"), [(1, 22, 4), (1, 3, 1), (1, 3, 0), (1, 12, 2)])
def test_too_few_frames_are_rejected(start, end, frame_nums):
    with pytest.raises(DataError, match=f"frame_nums is {frame_nums} for the"):
        FrameRange(start, end, frame_nums)


def video(frames=6):
    rng = np.random.default_rng(frames)
    ids = np.zeros((2, frames, 24, 31), np.uint8)
    for t in range(frames):
        for masks in ids[:, t]:
            y, x = rng.integers(0, 10, 2)
            masks[y : y + 9, x : x + 9] = 7
            masks[y + 4 : y + 12, 18:29] = 255
            masks[-1, -3:] = 3  # no test scores id 3
    names = [f"{5 * t + 1:08d}" for t in range(frames)]
    return tuple(dict(zip(names, masks, strict=True)) for masks in ids)


def test_each_object_has_its_own_frames():
    """255 is a normal id. Ids that are not listed are ignored. Missing frames have the score 0. Ids keep the listed order."""
    pred, truth = video()
    scores = lvos.score_video(pred, truth, {255: FrameRange(6, 27, 5), 7: FrameRange(1, 16, 6)}, True, "v")
    assert scores.ids == (255, 7) and scores.frame_names == ("00000006", "00000011", "00000016", "00000021")
    expected = {255: ["00000011", "00000016", "00000021"], 7: ["00000006", "00000011"]}
    figures = []
    for row, (i, names) in enumerate(expected.items()):
        counted = ~np.isnan(scores.j[row])
        assert [n for n, there in zip(scores.frame_names, counted, strict=True) if there] == names
        pairs = [(pred[n] == i, truth[n] == i) for n in names]
        j, f = [[score(*pair) for pair in pairs] + [0] * (4 - len(pairs) if i == 7 else 0) for score in (jaccard, boundary_f)]
        both = [(a + b) / 2 for a, b in zip(j, f, strict=True)]
        mean = sum(both) / len(both)
        variance = round(sum((x - mean) ** 2 for x in both) / len(both), 4)
        figures.append([sum(j) / len(j), sum(f) / len(f), math.sqrt(variance)])
    np.testing.assert_allclose(lvos.object_figures(scores), figures, atol=1e-12)
    assert lvos.object_figures(scores.of_object(7)).tolist() == lvos.object_figures(scores)[1:].tolist()


def test_variance_is_rounded_before_the_root():
    assert lvos.variability(np.array([0.5, 0.514]), np.array([0.5, 0.514])) == 0  # the variance 0.000049 is rounded to 0
    assert lvos.variability(np.array([0.5, 0.52]), np.array([0.5, 0.52])) == pytest.approx(0.01)


def test_two_frames_give_no_figure():
    pred, truth = video()
    scores = lvos.score_video(pred, truth, {7: FrameRange(1, 7, 2)}, False, "v")
    assert np.isnan(lvos.object_figures(scores)).all()


def test_missing_and_wrong_masks():
    pred, truth = video()
    ranges = {7: FrameRange(1, 27, 6)}
    with pytest.raises(DataError, match="v, frame 00000011: the mask is missing"):
        lvos.score_video({n: m for n, m in pred.items() if n != "00000011"}, truth, ranges, False, "v")
    with pytest.raises(DataError, match="v, frame 00000011: the annotation is missing"):
        lvos.score_video(pred, {n: m for n, m in truth.items() if n != "00000011"}, ranges, False, "v")
    with pytest.raises(DataError, match="v, frame 00000016: the mask has"):
        lvos.score_video(pred | {"00000016": np.zeros((24, 32), np.uint8)}, truth, ranges, False, "v")
    first_and_last = {"00000001", "00000026"}
    lvos.score_video({n: m for n, m in pred.items() if n not in first_and_last}, truth, ranges, False, "v")
