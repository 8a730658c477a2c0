"""Tests the SA-V metrics with results of the official evaluator and with cases computed by hand."""

from pathlib import Path

import numpy as np
import pytest

from hmmn_jax.errors import DataError
from hmmn_jax.metrics import sav
from hmmn_jax.metrics.davis import SequenceScores
from hmmn_jax.metrics.jf import boundary_f, jaccard

GOLDEN = Path(__file__).parent.parent / "golden" / "sav.npz"


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as archive:
        return dict(archive)


def test_figures_of_objects_that_overlap(golden):
    scores = []
    for v in golden["videos"].tolist():
        for o in golden[f"{v}_objects"].tolist() if v not in golden["missing"] else ():
            key = f"{v}_{o}"
            j, f = sav.score_object(golden[f"{key}_pred"], golden[f"{key}_gt"], key)
            np.testing.assert_allclose(j, golden[f"{key}_J"], rtol=0, atol=1e-9, equal_nan=True, err_msg=key)
            np.testing.assert_allclose(f, golden[f"{key}_F"], rtol=0, atol=1e-9, equal_nan=True, err_msg=key)
            scores.append(SequenceScores(key, tuple(map(str, range(len(j)))), j[None], f[None]))
            np.testing.assert_allclose(sav.object_figures(scores[-1])[0], golden[f"{key}_mean"], rtol=0, atol=1e-9)
    total = sav.total(scores)
    assert tuple(total) == sav.COLUMNS
    np.testing.assert_allclose([*total.values()], golden["total"], rtol=0, atol=1e-9)


def test_figures_of_masks_of_ids(golden):
    scores = []
    for v in golden["multi_videos"].tolist():
        found = sav.score_ids(golden[f"multi_{v}_pred"], golden[f"multi_{v}_gt"], v)
        scores.append(found)
        assert found.ids == tuple(golden[f"multi_{v}_ids"])
        np.testing.assert_allclose(found.j, golden[f"multi_{v}_J"], rtol=0, atol=1e-9, equal_nan=True)
        np.testing.assert_allclose(found.f, golden[f"multi_{v}_F"], rtol=0, atol=1e-9, equal_nan=True)
        np.testing.assert_allclose(sav.object_figures(found), golden[f"multi_{v}_mean"], rtol=0, atol=1e-9)
    np.testing.assert_allclose([*sav.total(scores).values()], golden["multi_total"], rtol=0, atol=1e-9)


def made(seen):
    """Returns the masks of an object that is visible in the frames whose character in `seen` is "1"."""
    masks = np.zeros((len(seen), 20, 30), bool)
    for t, s in enumerate(seen):
        masks[t, 4:12, 4 + t : 14 + t] = s == "1"
    return masks


@pytest.mark.parametrize(
    ("truth", "pred", "j"),
    [
        ("0001110", "0001110", [None, None, 1, 1, 1]),  # frames before the object appears are not scored
        ("0001110", "0101110", [0, 1, 1, 1, 1]),  # scored from the first false positive on; J of two empty masks is 1
        ("0001110", "1001110", [None, None, 1, 1, 1]),  # a false positive in the first frame has no effect
        ("1001110", "1001110", [None, None, 1, 1, 1]),
        ("1100111", "1100011", [1, 1, 1, 0, 1]),
        ("1100111", "1110111", [1, 0, 1, 1, 1]),
    ],
)
def test_an_object_counts_from_its_first_scored_frame(truth, pred, j):
    found, f = sav.score_object(made(pred), made(truth))
    assert [None if np.isnan(x) else x for x in found] == j == [None if np.isnan(x) else x for x in f]


def test_no_annotation_that_counts_shows_the_object():
    with pytest.raises(DataError, match="cup: no scored annotation shows the object"):
        sav.score_object(made("1011101"), made("1000001"), "cup")
    with pytest.raises(DataError, match="cup: the video has 2 frames"):
        sav.score_object(made("11"), made("11"), "cup")
    with pytest.raises(DataError, match="cup: the predictions have the shape"):
        sav.score_object(made("11111"), made("1111"), "cup")


def test_ids_are_those_of_scored_annotations():
    truth, pred = np.zeros((2, 5, 20, 30), np.uint8)
    truth[0, :4], truth[4, 5:9], truth[1:4, 10:15], truth[2, 16:] = 1, 2, 255, 9
    pred[:, 10:15], pred[:, 15] = 255, 77
    found = sav.score_ids(pred, truth)
    assert found.ids == (9, 255)
    assert np.isnan(found.j[0, 0]) and found.j[0, 1:].tolist() == [0, 1] and found.j[1].tolist() == [1, 1, 1]
    assert sav.score_ids(pred, np.zeros_like(truth)).ids == ()


def test_overlapping_objects_have_frames_of_their_own():
    rng = np.random.default_rng(0)
    pred, truth = rng.random((2, 4, 2, 18, 70)) < 0.3
    scored = {3: frozenset((1, 2, 3)), 300: frozenset((2,))}
    frames = [(t + 1, f"{t + 1:05d}", pred[t], truth[t], "") for t in range(4)]
    found = sav.score_frames(frames, scored, "v")
    assert found.ids == (3, 300) and found.indices == (1, 2, 3, 4)
    for row, own in enumerate(scored.values()):
        for t in range(4):
            expected = [score(pred[t, row], truth[t, row]) if t + 1 in own else np.nan for score in (jaccard, boundary_f)]
            np.testing.assert_array_equal([found.j[row, t], found.f[row, t]], expected)
