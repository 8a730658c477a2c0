"""Sessions on disk: what was saved goes on as what was not; nothing of a user's is touched; damaged files are named."""

import json
import shutil

import numpy as np
import pytest

from hmmn_jax import Session
from hmmn_jax.errors import DataError
from hmmn_jax.session import store
from tests.session.stub import Stub, clip
from tests.session.test_session import EMPTY, FRAMES, box, make, run, states


def worked(anchors=None):
    """A session with all that there can be: an unknown region, a pass that was stopped, a removed and a merged object."""
    session = make(anchors or {0: box(1, 2, 300), 6: box(1, 2)})
    run(session, 0, 4)
    session.annotate(3, EMPTY, np.ones((5, 6), bool))
    session.merge(1, 2)
    results = session.propagate()
    for _ in range(4):
        next(results)
    results.close()
    session.remove(300)
    return session


def assert_same(session, other):
    assert states(session) == states(other) and session.annotated == other.annotated and session.objects == other.objects
    for t in session.masks:
        one, two = session.result(t), other.result(t)
        assert one.mask.dtype == two.mask.dtype and np.array_equal(one.mask, two.mask)
        assert one.ids == two.ids and np.array_equal(one.probs, two.probs)
        assert one.confidence == two.confidence


def go_on(session):
    found = run(session)
    session.annotate(1, box(7))
    found += run(session)
    with pytest.raises(ValueError, match="merged into 1"):
        session.annotate(2, box(2))
    return found, session.next_to_annotate()


def test_a_session_saved_and_loaded_goes_on_equally(tmp_path):
    session = worked()
    session.save(tmp_path / "saved")
    loaded = Session.load(tmp_path / "saved", Stub(), FRAMES)
    assert not loaded.undo()
    assert_same(loaded, session)
    assert go_on(loaded) == go_on(session)
    assert_same(loaded, session)


def test_saving_again_writes_what_is_new_and_deletes_what_is_old(tmp_path):
    session = worked()
    session.save(tmp_path)
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "pictures").iterdir()}
    kept = tmp_path / "pictures" / "note.txt"
    kept.write_text("mine")
    run(session)
    session.save(str(tmp_path))
    left = {path for path in (tmp_path / "pictures").iterdir()} - {kept}
    assert 0 < len(left & files.keys()) < len(files) and all(
        path.stat().st_mtime_ns == files[path] for path in left & files.keys()
    )
    named = {json.dumps(name) for name in (path.stem for path in left)}
    text = (tmp_path / "session.json").read_text()
    assert all(name in text for name in named) and kept.read_text() == "mine"
    assert_same(Session.load(tmp_path, Stub(), FRAMES), session)


@pytest.mark.parametrize("place", ["_write_picture", "replace_own", "_delete_own"])
@pytest.mark.parametrize("times", [0, 2])
def test_a_process_that_dies_leaves_the_old_session_or_the_new(tmp_path, monkeypatch, place, times):
    session, old = worked(), worked()
    session.save(tmp_path)
    run(session)
    calls, work = [], getattr(store, place)

    def die(*args):
        calls.append(args)
        if len(calls) > times:
            raise KeyboardInterrupt
        return work(*args)

    monkeypatch.setattr(store, place, die)
    try:
        session.save(tmp_path)
    except KeyboardInterrupt:
        assert len(calls) == times + 1
    expected = session if place == "_delete_own" or len(calls) <= times else old
    assert_same(Session.load(tmp_path, Stub(), FRAMES), expected)
    monkeypatch.undo()
    session.save(tmp_path)
    assert_same(Session.load(tmp_path, Stub(), FRAMES), session)


def test_files_of_others_are_not_touched(tmp_path):
    session = make({0: box(1)})
    (tmp_path / "photo.jpg").write_bytes(b"mine")
    with pytest.raises(DataError, match=r"photo\.jpg: not of a session; give an empty or new folder"):
        session.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]
    other = tmp_path / "other"
    other.mkdir()
    (other / "session.json").write_text("{}")
    with pytest.raises(DataError, match="not of a session, or damaged"):
        session.save(other)
    assert (other / "session.json").read_text() == "{}"
    session.save(tmp_path / "third")
    changed = tmp_path / "third" / "session.json"
    changed.write_text(changed.read_text() + " ")
    with pytest.raises(DataError, match="not written by this program, or changed since"):
        session.save(tmp_path / "third")
    with pytest.raises(DataError, match=r"photo\.jpg"):
        session.save(tmp_path / "photo.jpg")


def edited(change):
    def apply(folder):
        path = folder / "session.json"
        found = json.loads(path.read_text())
        change(found)
        path.write_text(json.dumps(found))

    return apply


def of_pictures(change):
    def apply(folder):
        for path in (folder / "pictures").iterdir():
            change(path)

    return apply


def pickled(path):
    np.savez(path, channel=np.array([{}], object), levels=np.array([{}], object))


def replaced(path):
    np.savez(path, channel=np.zeros((5, 6), np.uint8), levels=np.zeros((1, 5, 6), np.uint8))


def oversized(path):
    np.savez(path, channel=np.full((5, 6), 9, np.uint8), levels=np.zeros((1, 5, 6), np.uint8))


DAMAGE = {
    "no file": lambda folder: (folder / "session.json").unlink(),
    "no JSON": lambda folder: (folder / "session.json").write_bytes(b"\xff\x00"),
    "deep JSON": lambda folder: (folder / "session.json").write_text("[" * 100_000),
    "a list": lambda folder: (folder / "session.json").write_text("[]"),
    "another format": edited(lambda found: found.update(format=2)),
    "no anchors": edited(lambda found: found.pop("anchors")),
    "a path for a name": edited(lambda found: found["anchors"]["0"].update(file="../../secret")),
    "an id too many": edited(lambda found: found["anchors"]["0"]["names"].append(4)),
    "an id that is none": edited(lambda found: found["anchors"]["0"].update(names=[70000])),
    "a frame that is none": edited(lambda found: found["anchors"].update({"-1": found["anchors"]["0"]})),
    "two of a frame": edited(lambda found: found["predictions"].update({"0": found["predictions"]["1"]})),
    "unknown passes": edited(lambda found: found["predictions"]["1"].update(passes=["up"])),
    "passes without an anchor": edited(lambda found: found["predictions"]["1"].update(passes=["backward"])),
    "no pictures": lambda folder: shutil.rmtree(folder / "pictures"),
    "pictures cut off": of_pictures(lambda path: path.write_bytes(path.read_bytes()[:-30])),
    "objects of Python": of_pictures(pickled),
    "other pictures": of_pictures(replaced),
    "channels that are not there": of_pictures(oversized),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_sessions_are_named(tmp_path, damage):
    session = make({0: box(1)})
    run(session, 0, 3)
    session.save(tmp_path)
    damage(tmp_path)
    with pytest.raises(DataError, match="not of a session, or damaged") as error:
        Session.load(tmp_path, Stub(), FRAMES)
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)


def test_another_video_is_refused(tmp_path):
    make({0: box(1)}).save(tmp_path)
    with pytest.raises(DataError, match="a session of frames of 6x5 pixels, the video has 8x4; give the video"):
        Session.load(tmp_path, Stub(), clip(9, 4, 8))
