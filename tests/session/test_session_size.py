"""Tests `Session` with a network input that is smaller than the frames."""

import math

import numpy as np
import pytest

from hmmn_jax import Session
from hmmn_jax.errors import ConfigError
from hmmn_jax.inference.augmentation import Augmentation
from hmmn_jax.session.picture import LEVELS
from tests.session.examples import box, make, run
from tests.session.stub import Stub, clip

LARGE = clip(6, 10, 12)


def large(*ids):
    return box(*ids).repeat(2, 0).repeat(2, 1)


def test_frames_are_segmented_at_another_size():
    (view,) = Augmentation(5).views(10, 12)
    session = make({1: large(1, 2)}, LARGE, size=5)
    run(session)
    by_hand = Stub().run(map(view.show_frame, LARGE[1:]), box(1, 2))
    for t, result in enumerate(by_hand, 2):
        probs = view.restore(np.asarray(result.probs), 10, 12)
        found = session.result(t)
        assert found.mask.shape == (10, 12)
        assert np.array_equal(found.mask, result.ids[probs.argmax(axis=0)])
        assert np.abs(found.probs - probs)[1:].max() <= 1 / LEVELS  # stored in steps of 1/255
    assert {frame.shape for frame in session.segmenter.encoded} == {(5, 6, 3)}
    assert session.masks[0].any() and np.array_equal(session.masks[1], large(1, 2))


def test_probabilities_of_unknown_pixels_are_scaled():
    (view,) = Augmentation(5).views(10, 12)
    session = make({0: large(1, 2)}, LARGE, size=5)
    run(session)
    unknown = np.zeros((10, 12), bool)
    unknown[2:8] = True
    session.annotate(3, np.zeros((10, 12), np.uint8), unknown)
    given = np.asarray(session.result(3).probs)
    stub = session.segmenter
    stub.states, step = [], stub.step
    stub.step = lambda state, *args, **options: stub.states.append(state) or step(state, *args, **options)
    run(session, 4)
    np.testing.assert_allclose(stub.states[0].probs[0], view.restore(given, 5, 6), atol=1e-6)
    assert (np.asarray(stub.states[0].probs[0]) % 1).any()


def test_an_object_may_be_too_small_for_the_size():
    mask = large(1)
    mask[8, 10] = 2
    session = make({0: mask}, LARGE, size=5)
    run(session)
    assert session.objects == (1, 2) and all(2 not in session.masks[t] for t in range(1, 6))
    assert all(math.isnan(session.confidence[t, 2]) for t in range(1, 6)) and session.next_to_annotate() is not None
    with pytest.raises(ConfigError, match="size is -1"):
        make({}, LARGE, size=-1)


def test_a_session_of_another_size_goes_on_after_it_was_loaded(tmp_path):
    session, other = make({0: large(1)}, LARGE, size=5), make({0: large(1)}, LARGE, size=5)
    run(session, 0, 3), run(other)
    session.save(tmp_path)
    loaded = Session.load(tmp_path, Stub(), LARGE, size=5)
    run(loaded)
    assert all(np.array_equal(loaded.masks[t], other.masks[t]) for t in range(6))
