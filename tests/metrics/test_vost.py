"""Tests the VOST metrics with results of the official evaluator and with cases computed by hand."""

from pathlib import Path

import numpy as np
import pytest

from hmmn_jax.errors import DataError
from hmmn_jax.metrics import vost

GOLDEN = Path(__file__).parent.parent / "golden" / "vost.npz"


def test_figures_of_the_official_evaluator():
    with np.load(GOLDEN) as golden:
        videos = golden["videos"].tolist()
        scores = [vost.score_sequence(golden[f"{v}_pred"], golden[f"{v}_gt"], v) for v in videos]
        for v, found in zip(videos, scores, strict=True):
            np.testing.assert_allclose(found.j, golden[f"{v}_J"], rtol=0, atol=1e-9, err_msg=v)
            np.testing.assert_allclose(vost.object_figures(found), golden[f"{v}_stats"], rtol=0, atol=1e-9, err_msg=v)
            assert np.isnan(found.f).all()
        total = vost.total(scores)
        np.testing.assert_allclose([*total.values()], golden["total"], rtol=0, atol=1e-9)
    assert tuple(total) == vost.COLUMNS


@pytest.mark.parametrize(("frames", "kept"), [(1, 1), (2, 1), (3, 1), (4, 1), (5, 2), (7, 2), (8, 2), (9, 3), (38, 10)])
def test_the_last_quarter(frames, kept):
    assert vost.transformed(np.arange(frames, dtype=float)).tolist() == [*range(frames - kept, frames)]


def made(frames=4):
    ids = np.zeros((2, frames, 12, 20), np.uint8)
    ids[:, :, 2:6, 2:6], ids[:, :, 2:6, 10:14] = 1, 3  # id 2 has no pixels
    return ids


def test_objects_are_those_up_to_the_largest_of_the_first_annotation():
    pred, truth = made()
    truth[1:, 8:, :4] = 4  # id 4 starts later and is larger than 3, so it is not scored
    pred[1:, 8:, :4] = 255  # id 255 is not an object, so these pixels have no effect
    assert vost.score_sequence(pred, truth).j.tolist() == [[1, 1]] * 3
    pred[2, 0, 0] = 2
    assert vost.score_sequence(pred, truth).j.tolist() == [[1, 1], [1, 0], [1, 1]]
    pred[1, 2:4, 2:6] = 9  # id 9 is ignored, and these pixels are missing from the prediction of object 1
    assert vost.score_sequence(pred, truth).j[0].tolist() == [0.5, 1]


def test_255_in_the_annotation_is_background():
    pred, truth = made()
    truth[:, 4:6, 2:6] = 255  # 255 is background, so the predicted objects are wrong here
    assert vost.score_sequence(pred, truth).j[0].tolist() == [0.5, 0.5]


def test_no_object_and_few_frames():
    pred, truth = made()
    found = vost.score_sequence(pred, np.where(truth > 0, np.uint8(255), np.uint8(0)))
    assert found.j.shape == (0, 2) and found.ids == ()
    assert np.isnan([*vost.total([found]).values()]).all()
    both = [found, vost.score_sequence(pred, truth)]
    assert vost.total(both)["J mean"] == 1
    with pytest.raises(DataError, match="cup: the video has 2 frames"):
        vost.score_sequence(pred[:2], truth[:2], "cup")
    with pytest.raises(DataError, match="cup: the predictions have the shape"):
        vost.score_sequence(pred[:3], truth, "cup")
