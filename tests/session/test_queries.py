"""Tests that each frame is encoded only once if the memory budget allows it.

`inference/test_segmenter.py` tests that encoding frames in advance does not change the results.
"""

import numpy as np
import pytest

from hmmn_jax import Session
from hmmn_jax.session import queries
from hmmn_jax.session.queries import MOST, Queries, default_budget
from tests.session.stub import Stub, clip

FRAMES = clip(9)
MASK = np.eye(5, 6, dtype=np.uint8)
BYTES = FRAMES[0].nbytes


def session_of(**options):
    session = Session(Stub(), FRAMES, **options)
    for t in (0, 8):
        session.annotate(t, MASK)
    return session


def encoded(session):
    """Returns the indices of the frames that were encoded, in order."""
    return [next(t for t in range(9) if np.array_equal(FRAMES[t], frame)) for frame in session.segmenter.encoded]


def test_a_frame_is_encoded_once_for_all_passes_and_corrections():
    session = session_of()
    list(session.propagate())
    session.annotate(4, MASK)
    list(session.propagate())
    assert encoded(session) == [1, 2, 3, 4, 5, 6, 7]
    assert session.segmenter.steps == 14 + 12


def test_those_that_were_not_used_for_longest_are_dropped():
    """With a budget for three frames, the backward pass reuses the last three frames that the forward pass encoded."""
    session = session_of(encoded=3 * BYTES + 1)
    list(session.propagate())
    assert encoded(session) == [1, 2, 3, 4, 5, 6, 7, 4, 3, 2, 1]


def test_without_room_every_pass_encodes():
    session = session_of(encoded=BYTES - 1)
    list(session.propagate())
    assert encoded(session) == [1, 2, 3, 4, 5, 6, 7, 7, 6, 5, 4, 3, 2, 1]


def test_without_objects_nothing_is_encoded():
    session = Session(Stub(), FRAMES)
    session.annotate(0, np.zeros_like(MASK))
    list(session.propagate())
    assert encoded(session) == []


def test_the_budget_is_never_exceeded():
    found = Queries(lambda frame: [frame, frame], 5 * BYTES)
    for t in (0, 1, 2, 1, 3):
        found.of(t, FRAMES[t])
        assert found.used <= 5 * BYTES
    assert [*found._kept] == [1, 3]


@pytest.mark.parametrize(("free", "expected"), [(None, MOST), (10 * MOST, MOST), (100, 25)])
def test_the_default_is_a_share_of_the_free_memory(monkeypatch, free, expected):
    monkeypatch.setattr(queries, "free_bytes", lambda: free)
    assert default_budget() == expected
