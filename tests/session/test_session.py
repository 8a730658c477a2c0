"""`Session`: each rule by an example, on the stub; directions and kinds of videos."""

import math
import re
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import hmmn_jax
from hmmn_jax import Session
from hmmn_jax.errors import ConfigError
from hmmn_jax.inference.augmentation import Augmentation
from hmmn_jax.io import bundled
from hmmn_jax.io.video_file import VideoFile
from hmmn_jax.session.picture import LEVELS
from tests.session.stub import Stub, clip
from tests.small import rectangles, untyped

ROOT = Path(__file__).parents[2]
FRAMES = clip(9)
EMPTY = np.zeros((5, 6), np.uint8)


def box(*ids, top=1):
    """Objects side by side, two columns each."""
    mask = EMPTY.astype(np.uint16 if max(ids) > 255 else np.uint8)
    for i, k in enumerate(ids):
        mask[top : top + 3, 2 * i : 2 * i + 2] = k
    return mask


def make(anchors, frames=FRAMES, **options):
    session = Session(Stub(), frames, **options)
    for t, mask in anchors.items():
        session.annotate(t, mask)
    return session


def states(session):
    """A letter for each frame: annotated, final, provisional, stale, missing."""
    return "".join(session.state(t)[0] for t in range(len(session)))


def run(session, *args, **options):
    return [(t, result.final) for t, result in session.propagate(*args, **options)]


# Which frames, in which order


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
    assert states(session) == "appffpppa"  # forward passed 1 to 4, backward 7 to 3
    assert session.segmenter.steps == 4 + 5
    run(session, 5, 8)
    assert states(session) == "appfffffa" and session.segmenter.steps == 4 + 5 + 7  # the backward pass was there


def test_what_is_up_to_date_is_not_computed_again():
    session = make({0: box(1), 4: box(1)})
    run(session)
    steps = session.segmenter.steps
    assert run(session) == [(t, True) for t in (1, 2, 3, 5, 6, 7, 8)]
    assert session.segmenter.steps == steps
    session.annotate(6, box(1))
    run(session)
    assert session.segmenter.steps == steps + 1 + 1 + 2  # 5 from both sides, then 7 and 8


def test_an_anchor_starts_anew_with_its_frame_and_mask():
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
        for one in (make({}), session):  # before and after the frames were counted
            with pytest.raises(IndexError):
                one.annotate(t, box(1))
    with pytest.raises(ValueError, match="as its frame"):
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
    """Two annotations with one mask and other probabilities are not the same."""
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


def test_an_annotation_taken_away():
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


def test_blending_by_the_formula():
    session = make({0: box(1, 2), 4: box(2, 3)})
    first, last = make({0: box(1, 2)}), make({4: box(2, 3)})
    for one in (session, first, last):
        run(one)
    for t in (1, 2, 3):
        u = t / 4
        forward, backward, found = first.result(t), last.result(t), session.result(t)
        assert (forward.ids, backward.ids, found.ids) == ((0, 1, 2), (0, 2, 3), (0, 1, 2, 3))
        x, y = (1 - u) * forward.confidence.get(2, 0), u * backward.confidence.get(2, 0)
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


# Removing, merging, undoing


def test_remove_rewrites_at_once_and_can_be_undone():
    session = make({0: box(1, 2), 4: box(1), 6: box(1)})
    run(session)
    before = [session.masks[t] for t in range(9)]
    session.remove(2)
    assert session.objects == (1,) and states(session) == "asssafaff"  # between 4 and 6 there never was an object 2
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
    with pytest.raises(ValueError, match="there is no such object; known: 1"):
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
    assert states(session) == "afffaffff"  # 1 to 3 as before, 5 to 8 as computed meanwhile
    run(session)
    assert session.segmenter.steps == steps
    assert session.undo() and session.undo() and not session.undo() and session.annotated == ()


# While it runs


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
    for _ in range(9):  # six forward, three of six backward
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


def test_an_edit_while_it_runs_counts_from_then_on():
    session, expected = make({0: box(1, 2)}), make({0: box(1), 6: box(1), 3: box(1, top=2)})
    results, seen = session.propagate(), []
    for i, (t, result) in enumerate(results):
        seen.append((t, result.final))
        if i == 3:
            session.annotate(6, box(1, 2))  # ahead
        if i == 5:
            session.annotate(3, box(1, 2, top=2))  # behind
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
    assert session.segmenter.steps == 1 + 1 + 8  # one in vain


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


# Directions, kinds of videos


def assert_reversed(session, other):
    count = len(session)
    for t in range(count):
        assert np.array_equal(session.masks[t], other.masks[count - 1 - t])
        assert np.array_equal(session.result(t).probs, other.result(count - 1 - t).probs)


def test_backwards_on_a_film_is_forwards_on_the_reversed_film(tmp_path, monkeypatch):
    pytest.importorskip("av")
    from tests.io.test_video_file import H264, greys, write_film

    film = write_film(tmp_path / "a.mp4", greys(20), options=H264)
    monkeypatch.setattr("hmmn_jax.io.video_file._BACKWARDS_BYTES", 7 * 3 * 32 * 48)  # chunks of 7 frames
    decoded = np.stack(list(iter(VideoFile(film))))
    mask = rectangles((1, 2), 70, 48)[16:48]
    backward, forward = Session(Stub(), str(film)), Session(Stub(), decoded[::-1])
    backward.annotate(19, mask)
    forward.annotate(0, mask)
    assert run(backward) == [(19 - t, final) for t, final in run(forward)]
    assert_reversed(backward, forward)


# Another size of the network's input


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
        assert np.abs(found.probs - probs)[1:].max() <= 1 / LEVELS  # stored in steps
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


def test_a_folder_is_a_video(tmp_path):
    for t, frame in enumerate(FRAMES):
        Image.fromarray(frame).save(tmp_path / f"{t}.png")
    session, other = make({3: box(1)}, tmp_path), make({3: box(1)}, list(FRAMES))
    run(session), run(other)
    assert all(np.array_equal(session.masks[t], other.masks[t]) for t in range(9))


def test_memory_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    small, large = make({0: box(1), 7: box(1, 2)}, memory=200), make({0: box(1), 7: box(1, 2)})
    for session in (small, large):
        run(session)
    assert small._pool.used <= 200 < large._pool.used
    (folder,) = tmp_path.iterdir()
    assert len(list(folder.iterdir())) > 5
    assert all(np.array_equal(small.result(t).probs, large.result(t).probs) for t in range(9))
    del small
    del session
    assert list(tmp_path.iterdir()) == []


# Exports


def test_what_exports_take():
    session = make({0: box(1)})
    run(session, 0, 3)
    assert np.array_equal(session.find(2).mask, session.masks[2]) and session.find(8) is None


# Confidence


def test_confidence_is_nan_where_an_object_is_absent():
    session = make({0: box(1, 2), 4: box(1)})
    assert math.isnan(session.confidence[1, 1])  # never computed
    run(session)
    assert session.confidence[0, 2] == 1 and math.isnan(session.confidence[4, 2]) and math.isnan(session.confidence[4, 77])
    for t in range(9):
        present = {*np.unique(session.masks[t]).tolist()} - {0}
        assert {k for k in (1, 2) if not math.isnan(session.confidence[t, k])} == present
        assert all(0 <= session.confidence[t, k] <= 1 for k in present)


def test_the_next_frame_to_annotate_is_the_most_doubtful():
    session = make({})
    assert session.next_to_annotate() == 0
    session.annotate(0, box(1, 2))
    assert session.next_to_annotate() == 8
    run(session)
    scores = {}
    for t in range(1, 9):
        found = [session.confidence[t, k] for k in (1, 2)]
        scores[t] = np.mean([0.5 if math.isnan(c) else c for c in found])
    t = session.next_to_annotate()
    assert scores[t] == min(scores.values())
    for t in range(9):
        session.annotate(t, box(1))
    assert session.next_to_annotate() is None


def test_the_example_of_the_documentation(tmp_path, monkeypatch, capsys):
    """With the stub in place of the network, on the first frames of the clip in small."""
    code, *_ = re.findall(r"```python\n(.*?)```", (ROOT / "docs/session.md").read_text(encoding="utf-8"), re.DOTALL)
    for t in range(8):
        for name in (f"JPEGImages/240p/koi/{t:05d}.jpg", f"Annotations/240p/koi/{t:05d}.png"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            with Image.open(bundled.DEMO_CLIP / name) as image:
                image.resize((42, 24), Image.Resampling.NEAREST).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bundled, "DEMO_CLIP", tmp_path)
    monkeypatch.setattr(hmmn_jax, "load_checkpoint", lambda name: (bundled.WEIGHTS[name].stat(), None), raising=False)
    monkeypatch.setattr(hmmn_jax, "Segmenter", lambda found, config: Stub(), raising=False)
    exec(code, {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 8 and lines[7].count("'annotated'") == 2 and "'stale'" in lines[7]
    assert (tmp_path / "koi-session/session.json").is_file()
