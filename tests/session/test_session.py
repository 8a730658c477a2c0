"""Tests each rule of `Session` for propagation, stale frames and masks with an example. The segmenter is a stub."""

import numpy as np
import pytest

from hmmn_jax import Session
from hmmn_jax.session.picture import LEVELS
from tests.session.examples import EMPTY, FRAMES, box, make, run, states
from tests.session.stub import Stub
from tests.small import untyped

# Frames and their order


def test_frames_between_come_twice_and_the_others_once():
    session = make({2: box(1), 6: box(1, 2)})
    assert run(session) == [
        *[(1, True), (0, True)],
        *[(3, False), (4, False), (5, False), (5, True), (4, True), (3, True)],
        *[(7, True), (8, True)],
    ]
    assert states(session) == "ffafffaff"


@pytest.mark.parametrize(
    ("direction", "expected", "steps"), [("forward", "mmapppaff", 5), ("backward", "ffapppamm", 5), ("both", "ffafffaff", 10)]
)
def test_one_direction_leaves_frames_between_provisional(direction, expected, steps):
    session = make({2: box(1), 6: box(1)})
    results = run(session, direction=direction)
    assert states(session) == expected and session.segmenter.steps == steps
    assert all(final == (not 2 < t < 6) for t, final in results) or direction == "both"


def test_what_lies_between_range_and_anchor_is_kept_and_not_yielded():
    session = make({0: box(1), 8: box(1)})
    assert run(session, 3, 5) == [(3, False), (4, False), (4, True), (3, True)]
    assert states(session) == "appffpppa"  # forward pass: frames 1 to 4; backward pass: frames 7 to 3
    assert session.segmenter.steps == 4 + 5
    run(session, 5, 8)
    assert states(session) == "appfffffa" and session.segmenter.steps == 4 + 5 + 7  # the backward pass is not repeated


def test_what_is_up_to_date_is_not_computed_again():
    session = make({0: box(1), 4: box(1)})
    run(session)
    steps = session.segmenter.steps
    assert run(session) == [(t, True) for t in (1, 2, 3, 5, 6, 7, 8)]
    assert session.segmenter.steps == steps
    session.annotate(6, box(1))
    run(session)
    assert session.segmenter.steps == steps + 1 + 1 + 2  # two passes for frame 5, one pass for frames 7 and 8


def test_an_anchor_starts_again_with_its_frame_and_mask():
    session = make({0: box(1), 4: box(2)})
    run(session, direction="forward")
    assert [start.tolist() for start in session.segmenter.starts] == [FRAMES[0].tolist(), FRAMES[4].tolist()]
    assert session.result(3).ids == (0, 1) and session.result(5).ids == (0, 2)


@pytest.mark.parametrize("range_", [(-1, 3), (3, 3), (0, 10), (9, None)])
def test_ranges_that_are_none(range_):
    with pytest.raises(ValueError, match="expected 0 <= start < stop <= 9"):
        make({0: box(1)}).propagate(*range_)


def test_what_cannot_be():
    session = make({})
    with pytest.raises(ValueError, match="no frame is annotated"):
        session.propagate()
    with pytest.raises(ValueError, match="expected forward, backward or both"):
        session.propagate(direction="up")
    for t in (-1, 9):
        for one in (make({}), session):  # the frames of `session` were already counted
            with pytest.raises(IndexError):
                one.annotate(t, box(1))
    with pytest.raises(ValueError, match="of its frame"):
        session.annotate(0, np.zeros((4, 6), np.uint8))
    with untyped(), pytest.raises(ValueError, match="unknown is uint8"):
        session.annotate(0, box(1), EMPTY)
    with pytest.raises(KeyError):
        session.masks[0]
    with pytest.raises(KeyError):
        session.result(0)
    segmenter = Stub()
    segmenter.independent = True
    with pytest.raises(ValueError, match="independent"):
        Session(segmenter, FRAMES)


# Stale


def test_an_annotation_makes_stale_the_frames_between_its_neighbours():
    session = make({0: box(1), 3: box(1), 7: box(1)})
    run(session)
    before = session.masks[4]
    session.annotate(5, box(1))
    assert states(session) == "affasasaf"
    assert np.array_equal(session.masks[4], before)
    session.annotate(3, box(1, top=2))
    assert states(session) == "assasasaf"


def test_the_same_mask_again_makes_nothing_stale():
    session = make({0: box(1), 3: box(1)})
    run(session)
    session.annotate(3, box(1).astype(np.uint16))
    assert states(session) == "affafffff"


def test_probabilities_of_unknown_pixels_are_content():
    """Annotations with the same mask but different probabilities are treated as different."""
    session, hard = make({0: box(1)}), make({0: box(1)})
    run(session, 0, 4)
    session.annotate(3, EMPTY, np.ones((5, 6), bool))
    hard.annotate(3, session.masks[3])
    run(hard)
    assert np.array_equal(hard.masks[3], session.masks[3]) and session.masks[3].any()
    hard._ledger.timeline = hard._ledger.timeline.annotated(3, session._ledger.timeline.anchors[3])
    assert states(hard) == "assasssss"


def test_a_prediction_that_was_renamed_is_never_current_again():
    session = make({0: box(1, 2), 4: box(1)})
    run(session)
    renamed = session._ledger.timeline.predictions[2].renamed(2, 0)
    assert session._ledger.timeline.predicted(2, renamed).state(2) == "stale"


def test_an_annotation_removed():
    session = make({0: box(1), 3: box(1), 7: box(1)})
    run(session)
    session.unannotate(3)
    assert states(session) == "assmsssaf" and session.annotated == (0, 7)
    with pytest.raises(ValueError, match="frame 3 is not annotated"):
        session.unannotate(3)
    run(session)
    assert session.undo() and states(session) == "affafffaf"


# Masks


def test_erased_pixels_stay_erased_and_unknown_ones_are_the_models():
    session = make({0: box(1, 2)})
    run(session)
    predicted = session.result(4)
    unknown = np.zeros((5, 6), bool)
    unknown[:, 3:] = True
    session.annotate(4, EMPTY, unknown)
    assert not session.masks[4][:, :3].any()
    assert np.array_equal(session.masks[4][:, 3:], predicted.mask[:, 3:])
    kept = [predicted.ids.index(k) for k in session.result(4).ids]
    expected = predicted.probs[kept] / predicted.probs[kept].sum(0)
    np.testing.assert_allclose(session.result(4).probs[:, :, 3:], expected[:, :, 3:], atol=1 / LEVELS)
    session.annotate(4, EMPTY)
    assert not session.masks[4].any() and session.result(4).ids == (0,)


def test_unknown_pixels_of_a_frame_never_computed_are_background():
    session = make({})
    session.annotate(4, box(1, 2), box(1) > 0)
    assert np.array_equal(session.masks[4], np.where(box(1) > 0, 0, box(1, 2)))
    assert session.objects == (2,)


@pytest.mark.parametrize("by_reliability", [False, True])
def test_blending_by_the_formula(by_reliability):
    masks = {0: box(1, 2), 4: box(2, 3)}
    masks[0][1] = 0  # object 2 has four pixels in frame 0, and six in frame 4
    session = make(masks, weigh_by_reliability=by_reliability)
    first, last = make({0: masks[0]}), make({4: masks[4]})
    for one in (session, first, last):
        run(one)
    for t in (1, 2, 3):
        u = t / 4
        forward, backward, found = first.result(t), last.result(t), session.result(t)
        assert (forward.ids, backward.ids, found.ids) == ((0, 1, 2), (0, 2, 3), (0, 1, 2, 3))
        x, y = 1 - u, u
        if by_reliability:
            x, y = x * forward.confidence.get(2, 0) * 4, y * backward.confidence.get(2, 0) * 6
            x, y = (x / (x + y), y / (x + y)) if x + y else (1 - u, u)
        p = np.stack([forward.probs[1], x * forward.probs[2] + y * backward.probs[1], backward.probs[2]])
        expected = np.concatenate([np.maximum(0, 1 - p.sum(0))[None], p])
        expected /= expected.sum(0)
        np.testing.assert_allclose(found.probs, expected, rtol=0, atol=1.5 / LEVELS)
        np.testing.assert_allclose(found.probs.sum(0), 1, rtol=0, atol=1e-6)


def test_ids_above_255():
    session = make({0: box(7, 65535), 4: box(7)})
    run(session)
    assert session.masks[2].dtype == np.uint16 and session.result(2).ids == (0, 7, 65535)
    session.remove(65535)
    assert session.masks[0].dtype == np.uint8
