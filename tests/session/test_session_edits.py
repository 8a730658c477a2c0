"""Tests edits of a `Session`: removing and merging objects, undo, and edits during propagation."""

import threading

import numpy as np
import pytest

from hmmn_jax.session.picture import LEVELS
from tests.session.examples import box, make, run, states


def test_remove_rewrites_at_once_and_can_be_undone():
    session = make({0: box(1, 2), 4: box(1), 6: box(1)})
    run(session)
    before = [session.masks[t] for t in range(9)]
    session.remove(2)
    assert session.objects == (1,) and states(session) == "asssafaff"  # frames 5, 7 and 8 never contained object 2
    for t in range(9):
        assert np.array_equal(session.masks[t], np.where(before[t] == 2, 0, before[t]))
    with pytest.raises(ValueError, match="object 2, which was removed"):
        session.annotate(5, box(2))
    assert session.undo() and states(session) == "afffafaff"
    for t in range(9):
        assert np.array_equal(session.masks[t], before[t])
    session.annotate(5, box(2))


def test_merge_makes_one_object_of_two():
    session = make({0: box(1, 2, 3), 4: box(2, 3)})
    run(session)
    before = [session.result(t) for t in range(9)]
    session.merge(3, 2)
    assert session.objects == (1, 3) and states(session) == "asssassss"
    for t in range(9):
        assert np.array_equal(session.masks[t], np.where(before[t].mask == 2, 3, before[t].mask))
    np.testing.assert_allclose(session.result(2).probs[2], before[2].probs[2:].sum(0), atol=1.5 / LEVELS)
    with pytest.raises(ValueError, match="object 2, which was merged into 3"):
        session.annotate(5, box(2))
    assert session.undo() and states(session) == "afffaffff" and session.objects == (1, 2, 3)


@pytest.mark.parametrize(
    "edit", [lambda s: s.remove(9), lambda s: s.remove(0), lambda s: s.merge(1, 9), lambda s: s.merge(9, 1)]
)
def test_objects_that_are_not_there(edit):
    with pytest.raises(ValueError, match=r"there is no object [09]. The session contains these objects: 1"):
        edit(make({0: box(1)}))
    with pytest.raises(ValueError, match="with itself"):
        make({0: box(1)}).merge(1, 1)


def test_undo_keeps_what_was_computed_since_where_it_serves():
    session = make({0: box(1), 4: box(1, 2)})
    run(session, 0, 4)
    session.annotate(2, box(1))
    run(session)
    steps = session.segmenter.steps
    session.undo()
    assert states(session) == "afffaffff"  # frames 1 to 3 are restored, and frames 5 to 8 are kept
    run(session)
    assert session.segmenter.steps == steps
    assert session.undo() and session.undo() and not session.undo() and session.annotated == ()


# During propagation


def test_how_much_there_is_to_compute_and_what_was_computed():
    session, seen = make({2: box(1), 6: box(1)}), []
    assert [session.frames_to_compute(*args) for args in [(), (7,), (8, 9), (0, 9, "backward")]] == [10, 2, 2, 2 + 3]
    for t, _ in session.propagate(8, on_frame=seen.append):
        assert t == 8
    assert seen == [7, 8] and session.frames_to_compute() == 8
    run(session)
    assert session.frames_to_compute() == 0 == make({}).frames_to_compute()
    with pytest.raises(ValueError, match="expected forward, backward or both"):
        session.frames_to_compute(direction="up")


def test_closing_stops_within_a_frame_and_keeps_what_came():
    session = make({0: box(1)})
    results = session.propagate()
    for _ in range(3):
        next(results)
    results.close()
    assert session.segmenter.steps == 3 and states(session) == "afffmmmmm"


def test_going_on_after_closing_is_as_if_it_had_not_been_closed():
    once, twice = (make({0: box(1), 7: box(1, 2)}) for _ in range(2))
    run(once)
    results = twice.propagate()
    for _ in range(9):  # all six frames of the forward pass, and three of the backward pass
        next(results)
    results.close()
    assert states(twice) == "apppfffam"
    assert run(twice) == [*[(t, False) for t in (1, 2, 3)], *[(t, True) for t in (4, 5, 6, 3, 2, 1, 8)]]
    for t in range(9):
        assert np.array_equal(once.result(t).probs, twice.result(t).probs)
        assert np.array_equal(once.masks[t], twice.masks[t]) and once.result(t).confidence == twice.result(t).confidence


def test_another_thread_can_stop_it_where_nothing_is_yielded():
    session = make({0: box(1)})
    step, passed = session.segmenter.step, threading.Event()

    def slow(*args, **options):
        if session.segmenter.steps == 2:
            threading.Thread(target=lambda: (session.stop(), passed.set())).start()
            passed.wait(10)
        return step(*args, **options)

    session.segmenter.step = slow
    assert run(session, 8, 9) == [] and states(session) == "afffmmmmm"
    session.segmenter.step = step
    assert run(session, 8, 9) == [(8, True)]
    results = session.propagate()
    session.stop()
    assert list(results) == []


def test_an_edit_while_it_runs_counts_afterwards():
    session, expected = make({0: box(1, 2)}), make({0: box(1), 6: box(1), 3: box(1, top=2)})
    results, seen = session.propagate(), []
    for i, (t, result) in enumerate(results):
        seen.append((t, result.final))
        if i == 3:
            session.annotate(6, box(1, 2))  # the pass has not reached this frame
        if i == 5:
            session.annotate(3, box(1, 2, top=2))  # the pass has already computed this frame
        if i == 7:
            session.remove(2)
    run(expected)
    assert states(session) == states(expected) == "affaffaff"
    for t in range(9):
        assert np.array_equal(session.masks[t], expected.masks[t])
    assert {t for t, final in seen if final} >= {1, 2, 4, 5, 7, 8}


def test_a_pass_ends_within_a_frame_of_an_edit_of_its_anchor():
    session = make({0: box(1)})
    results = session.propagate()
    next(results)
    session.annotate(0, box(1, top=2))
    assert [t for t, _ in results] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert session.segmenter.steps == 1 + 1 + 8  # the second result is discarded


def test_edits_of_another_thread_while_it_runs():
    session = make({0: box(1, 2)})
    done, failures = threading.Event(), []

    def work():
        try:
            while not done.is_set():
                for _ in session.propagate():
                    pass
        except BaseException as error:
            failures.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    rng = np.random.default_rng(0)
    for _ in range(60):
        if rng.random() < 0.3:
            session.undo() if len(session.annotated) > 1 else None
        else:
            session.annotate(int(rng.integers(0, 9)), box(1, 2, top=int(rng.integers(0, 3))))
    done.set()
    worker.join(60)
    assert failures == [] and not worker.is_alive()
    run(session)
    expected = make({t: session.masks[t] for t in session.annotated})
    run(expected)
    assert states(session) == states(expected)
    assert all(np.array_equal(session.result(t).probs, expected.result(t).probs) for t in range(9))
