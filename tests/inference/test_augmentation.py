"""Tests test-time augmentation, mostly with a stub that returns known results, and once with a network."""

import numpy as np
import pytest

from hmmn_jax import Segmenter
from hmmn_jax.errors import ConfigError
from hmmn_jax.inference import Result
from hmmn_jax.inference.augmentation import Augmentation, View, segment_augmented
from tests.small import SMALL, variables, video

HEIGHT, WIDTH = 24, 32
FRAMES = np.random.default_rng(0).integers(0, 256, (4, HEIGHT, WIDTH, 3), np.uint8)


class Known(Segmenter):
    """A stub that returns known probabilities and stores the frames that it receives.

    The probability of each object is `answer(frame, id)`, `[h,w]`. The background has the remaining probability.
    """

    def __init__(self, answer):
        self.answer, self.shown = answer, []

    def run(self, frames, mask, later=None):
        ids = np.unique(np.append(mask, np.uint8(0)))
        for t, frame in enumerate(frames):
            self.shown.append(frame)
            if later and t in later:
                ids = np.append(ids, np.setdiff1d(later[t], ids))
            if t:
                objects = [np.asarray(self.answer(frame, k), np.float32) for k in ids[1:]]
                probs = np.stack([1 - sum(objects, np.zeros(frame.shape[:2], np.float32)), *objects])
                yield Result(ids[probs.argmax(0)], probs, None, ids)


def box(k, top=4, height=HEIGHT, width=WIDTH):
    mask = np.zeros((height, width), np.uint8)
    mask[top : top + 6, 5:15] = k
    return mask


def constant(value):
    return lambda frame, k: np.full(frame.shape[:2], value(frame, k))


def test_one_view_of_the_frames_as_they_are_changes_nothing():
    segmenter = Known(constant(lambda frame, k: 0.7))
    found = list(segment_augmented(segmenter, FRAMES, {0: box(9)}, Augmentation()))
    assert len(found) == 3 and np.array_equal(segmenter.shown, FRAMES)
    assert (found[0].mask == 9).all() and found[0].ids.tolist() == [0, 9]
    assert np.allclose(found[2].probs, np.array([0.3, 0.7])[:, None, None])


def test_flip_averages_with_the_mirror_image():
    """The stub returns 0.9 in the left half of both views and 0.2 in the right half, so the mean is 0.55 everywhere."""
    segmenter = Known(lambda frame, k: np.repeat([0.9, 0.2], WIDTH // 2)[None].repeat(HEIGHT, 0))
    plain, flipped = (
        list(segment_augmented(segmenter, FRAMES, {0: box(1)}, Augmentation(flip=flip))) for flip in (False, True)
    )
    assert np.allclose(plain[0].probs[1, :, : WIDTH // 2], 0.9) and (plain[0].mask[:, WIDTH // 2 :] == 0).all()
    assert np.allclose(flipped[0].probs[1], 0.55) and (flipped[0].mask == 1).all()


def test_the_mirrored_view_comes_back_as_it_was():
    """The stub returns the red channel, so the mirrored view must give the same result after it is mirrored back."""
    red = Known(lambda frame, k: frame[..., 0] / 255)
    plain, flipped = (list(segment_augmented(red, FRAMES, {0: box(1)}, Augmentation(flip=flip))) for flip in (False, True))
    for a, b, frame in zip(plain, flipped, FRAMES[1:], strict=True):
        assert np.allclose(b.probs[1], frame[..., 0] / 255, atol=1e-6) and np.array_equal(a.mask, b.mask)


def test_scales_are_averaged_at_the_size_of_the_video():
    answers = {16: 0.9, 32: 0.4, 48: 0.5}
    segmenter = Known(constant(lambda frame, k: answers[frame.shape[1]]))
    found = list(segment_augmented(segmenter, FRAMES, {0: box(1)}, Augmentation(scales=(0.5, 1.0, 1.5))))
    assert {frame.shape[:2] for frame in segmenter.shown} == {(12, 16), (24, 32), (36, 48)}
    assert found[0].probs.shape == (2, HEIGHT, WIDTH) and np.allclose(found[0].probs[1], 0.6) and (found[0].mask == 1).all()


def test_probabilities_are_scaled_before_the_largest_wins():
    """A row with the values 1, 0 becomes 1, 3/4, 1/4, 0 when the width is doubled with bilinear interpolation."""
    segmenter = Known(lambda frame, k: np.array([[1.0, 0.0]] * 2))
    found = next(
        segment_augmented(segmenter, np.zeros((2, 4, 4, 3), np.uint8), {0: np.ones((4, 4), np.uint8)}, Augmentation(size=2))
    )
    assert segmenter.shown[0].shape == (2, 2, 3)
    assert np.allclose(found.probs[1], [[1, 0.75, 0.25, 0]] * 4) and found.mask.tolist() == [[1, 1, 0, 0]] * 4


@pytest.mark.parametrize(
    ("augmentation", "expected"),
    [
        (Augmentation(), [View(480, 854, False)]),
        (Augmentation(size=240), [View(240, 427, False)]),
        (Augmentation(240, (1.0, 2.0), True), [View(h, w, f) for h, w in ((240, 427), (480, 854)) for f in (False, True)]),
    ],
)
def test_sizes(augmentation, expected):
    assert augmentation.views(480, 854) == expected
    assert [(v.width, v.height) for v in augmentation.views(854, 480)] == [(v.height, v.width) for v in expected]


@pytest.mark.parametrize("wrong", [{"size": -1}, {"scales": ()}, {"scales": (0.0,)}])
def test_an_augmentation_that_cannot_be(wrong):
    with pytest.raises(ConfigError, match="expected"):
        Augmentation(**wrong)


def test_objects_join_in_every_view_and_what_is_given_stands():
    segmenter = Known(constant(lambda frame, k: {7: 0.6, 3: 0.3, 5: 0.0}[int(k)]))
    tiny = np.zeros((HEIGHT, WIDTH), np.uint8)
    tiny[0, 0] = 5  # this pixel disappears at half size
    given = {0: box(7), 2: box(3, top=12) + tiny}
    found = list(segment_augmented(segmenter, FRAMES, given, Augmentation(scales=(0.5, 1.0), flip=True)))
    assert [f.ids.tolist() for f in found] == [[0, 7], [0, 7, 3, 5], [0, 7, 3, 5]]
    assert np.array_equal(found[1].mask, np.where(given[2] == 0, 7, given[2]))
    assert (found[1].probs[2][given[2] == 3] == 1).all() and (found[1].probs[3] == (tiny > 0)).all()
    assert (found[2].mask == 7).all() and np.allclose(found[2].probs.sum(0), 1)
    assert np.allclose(found[2].probs[1:], np.array([0.6, 0.3, 0])[:, None, None])


def test_with_a_network_joining_is_as_step_by_step():
    frames = video(4, 32, 48)
    given = {0: box(4, 2, 32, 48) + box(9, 20, 32, 48), 2: box(2, 12, 32, 48)}
    segmenter = Segmenter(variables(), SMALL, mem_every=1)
    state = segmenter.init(frames[0], given[0])
    for t, found in enumerate(segment_augmented(segmenter, frames, given, Augmentation()), 1):
        state, result = segmenter.step(state, frames[t], given.get(t))
        assert found.ids.tolist() == result.ids.tolist() == ([0, 4, 9] if t < 2 else [0, 4, 9, 2])
        assert np.array_equal(found.mask, np.asarray(result.mask))
        assert np.allclose(found.probs, np.asarray(result.probs), atol=1e-5)
