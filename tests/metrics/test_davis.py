"""Tests the DAVIS scores of sequences in memory: which frames and ids are scored, and the mean, recall and decay."""

from pathlib import Path

import numpy as np
import pytest

from hmmn_jax.errors import DataError
from hmmn_jax.metrics.davis import SequenceScores, score_sequence, statistics, summarize

GOLDEN = Path(__file__).parent.parent / "golden" / "jf_cases.npz"


@pytest.mark.parametrize("case", range(5))
def test_statistics_of_the_official_toolkit(case):
    with np.load(GOLDEN) as golden:
        values, expected = golden[f"values_{case}"], golden[f"mean_recall_decay_{case}"]
    found = statistics(values)
    np.testing.assert_allclose([found.mean, found.recall, found.decay], expected, rtol=0, atol=1e-9)


def test_decay_beyond_255_frames():
    """The official tool stores bin edges in 8 bits, so the edges overflow in long videos. This package has no such limit.

    With 1001 frames, the first bin is frames 0 to 250, and the last bin is frames 750 to 1000.
    """
    assert statistics(np.linspace(1, 0, 1001)).decay == pytest.approx(0.875 - 0.125, abs=1e-12)


@pytest.mark.parametrize(
    ("values", "decay"),
    [
        ([0.3], 0),
        ([0.9, 0.1], 0.9 - 0.1),
        ([0.9, 0.5, 0.1], (0.9 + 0.5) / 2 - 0.1),  # the edges 0.5 and 1.5 are rounded up, so the last bin has one frame
        ([1, 0.5, 0.4, 0], (1 + 0.5) / 2 - (0.4 + 0) / 2),
        ([0, 0, 0.5, 1, 1], -1),
    ],
)
def test_decay_of_few_frames_worked_by_hand(values, decay):
    assert statistics(np.array(values, float)).decay == pytest.approx(decay, abs=1e-12)


def test_recall_counts_what_exceeds_a_half():
    assert statistics(np.array([0.5, 0.5000001, 1, 0])).recall == 0.5


def boxes(frames=5, height=24, width=32):
    ids = np.zeros((frames, height, width), np.uint8)
    ids[:, 2:8, 2:8] = 1
    ids[:, 12:20, 10:30] = 2
    return ids


def test_first_and_last_frame_are_left_out():
    truth = boxes()
    pred = truth.copy()
    pred[0] = pred[-1] = 0
    scores = score_sequence(pred, truth, name="cat")
    assert scores.name == "cat" and scores.frame_names == ("00001", "00002", "00003")
    assert (scores.j == 1).all() and (scores.f == 1).all() and scores.j.shape == (2, 3)
    pred[2] = 0
    assert score_sequence(pred, truth).j.tolist() == [[1, 0, 1], [1, 0, 1]]


def test_objects_are_those_of_the_first_annotation():
    truth = boxes()
    truth[0][truth[0] == 1] = 0  # the official tool scores id 1, too, because the larger id 2 is in this mask
    truth[2:, 0, 0] = 3  # object 3 starts later, so it is not scored
    scores = score_sequence(boxes(), truth)
    assert scores.j.tolist() == [[1, 1, 1], [1, 1, 1]]


def test_void_is_background_on_both_sides():
    truth, pred = boxes(), boxes()
    truth[:, 2:5, 2:8] = 255  # void covers half of object 1, so half of its prediction is wrong
    pred[:, 12:16, 10:30] = 255
    assert score_sequence(pred, truth).j.tolist() == [[0.5] * 3, [0.5] * 3]


def test_single_object_takes_the_union():
    union = (boxes() > 0).astype(np.uint8)
    for pred in (boxes(), union, union * 255, union * 7):
        for truth in (union, union * 255, boxes()):
            scores = score_sequence(pred, truth, single_object=True)
            assert scores.j.tolist() == [[1, 1, 1]] and scores.f.tolist() == [[1, 1, 1]]


def test_every_object_counts_the_same():
    def scores(j):
        j = np.array(j, float)
        return SequenceScores("", ("1", "2"), j, j / 2)

    one, two = scores([[1, 0.6]]), scores([[0.2, 0.4], [0, 0.2]])
    summary = summarize([one, two])
    assert summary.objects == 3
    assert summary.j.mean == pytest.approx((0.8 + 0.3 + 0.1) / 3)
    assert summary.j.recall == pytest.approx((1 + 0 + 0) / 3)
    assert summary.j.decay == pytest.approx((0.4 - 0.2 - 0.2) / 3)
    assert summary.f.mean == pytest.approx(summary.j.mean / 2)
    assert summary.jf_mean == pytest.approx(0.75 * summary.j.mean)
    assert summarize([two.of_object(2)]).j.mean == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("pred", "truth", "single_object", "said"),
    [
        (
            boxes(4),
            boxes(5),
            False,
            "cat: the predictions have the shape (4, 24, 32), but the annotations have the shape (5, 24, 32)",
        ),
        (boxes(2), boxes(2), False, "cat: the video has 2 frames"),
        (boxes(3) * 2, boxes(3), False, "cat, frame 1: the mask contains the id 4"),
        (boxes(3), boxes(3) * 0, False, "cat: the first annotation contains no object"),
        (boxes(3), (boxes(3) > 0).astype(np.uint8) * 255, False, "255 is void"),
        (boxes(3), boxes(3) * 0, True, "cat: the first annotation contains no object"),
    ],
)
def test_errors_are_named(pred, truth, single_object, said):
    with pytest.raises(DataError) as error:
        score_sequence(pred, truth, single_object, name="cat")
    assert said in str(error.value)
