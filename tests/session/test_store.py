"""Tests saved sessions: a loaded session equals the saved session, user files do not change, and errors name damaged files."""

import json
import os
import shutil

import numpy as np
import pytest

from hmmn_jax import Session
from hmmn_jax.errors import DataError
from hmmn_jax.session import states as states_module
from hmmn_jax.session import store
from hmmn_jax.session.pictures import PictureFiles
from tests.session.examples import EMPTY, FRAMES, box, make, run, states
from tests.session.stub import Stub, clip


def worked(anchors=None):
    """Returns a session with unknown pixels in an annotation, a stopped pass, a removed object and a merged object."""
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


def test_a_session_saved_and_loaded_continues_equally(tmp_path):
    session = worked()
    session.save(tmp_path / "saved")
    loaded = Session.load(tmp_path / "saved", Stub(), FRAMES)
    assert not loaded.undo()
    assert_same(loaded, session)
    assert go_on(loaded) == go_on(session)
    assert_same(loaded, session)


def files_of(folder):
    return {path: path.stat().st_mtime_ns for path in (folder / "pictures").iterdir()}


@pytest.mark.parametrize("is_new", [False, True], ids=["changes", "anew"])
def test_saving_again_writes_what_is_new_and_deletes_what_is_old(tmp_path, is_new):
    session = worked()
    session.save(tmp_path)
    files = files_of(tmp_path)
    kept = [tmp_path / "pictures" / "note.txt", tmp_path / "pictures" / f"{'a' * 64}.npz"]
    for path in kept:
        path.write_text("mine")
    if is_new:
        session = Session.load(tmp_path, Stub(), FRAMES)
    run(session)
    whole = (tmp_path / "session.json").read_bytes()
    session.save(str(tmp_path))
    assert ((tmp_path / "session.json").read_bytes() == whole) != is_new
    left = files_of(tmp_path).keys() - set(kept)
    assert 0 < len(left & files.keys()) < len(files)
    assert all(files_of(tmp_path)[path] == files[path] for path in left & files.keys())
    assert {path.stem for path in left} == {picture.content for picture in states_module.pictures(session.timeline)}
    assert all(path.read_text() == "mine" for path in kept)
    assert_same(Session.load(tmp_path, Stub(), FRAMES), session)


def test_one_annotation_writes_one_picture_and_one_line(tmp_path):
    session = make({t: box(1, 2, top=t % 2) for t in range(9)})
    session.save(tmp_path)
    before, lines = files_of(tmp_path), (tmp_path / "changes.jsonl").read_bytes()
    whole = (tmp_path / "session.json").stat()
    session.annotate(4, box(2, 1))
    session.save(tmp_path)
    assert len(files_of(tmp_path).keys() - before.keys()) == 1
    added = (tmp_path / "changes.jsonl").read_bytes().removeprefix(lines)
    assert added.count(b"\n") == 1 and len(added) < 250
    assert (tmp_path / "session.json").stat() == whole
    session.save(tmp_path)
    assert (tmp_path / "changes.jsonl").read_bytes() == lines + added
    assert_same(Session.load(tmp_path, Stub(), FRAMES), session)


def test_many_changes_are_written_again(tmp_path, monkeypatch):
    session = make({0: box(1)})
    session.save(tmp_path)
    monkeypatch.setattr(store, "MOST_CHANGES", 600)
    sizes = []
    for k in range(2, 9):
        session.annotate(k, box(k))
        session.save(tmp_path)
        sizes.append((tmp_path / "changes.jsonl").stat().st_size)
        assert_same(Session.load(tmp_path, Stub(), FRAMES), session)
    assert sizes == sorted(sizes[:4]) + sorted(sizes[4:]) and sizes[4] < 150 < 600 < sizes[3] < 1000


def test_every_edit_is_among_the_changes(tmp_path):
    session = make({0: box(1, 2, 3), 6: box(1, 3)})
    for edit in (
        lambda: None,
        lambda: run(session, 2, 4),
        lambda: session.unannotate(6),
        lambda: session.remove(2),
        lambda: session.merge(1, 3),
        session.undo,
        session.undo,
        session.undo,
    ):
        edit()
        session.save(tmp_path)
        loaded = Session.load(tmp_path, Stub(), FRAMES)
        assert_same(loaded, session)
        assert loaded.timeline.gone == session.timeline.gone


def test_a_line_without_its_end_does_not_count(tmp_path):
    session = make({0: box(1)})
    session.save(tmp_path)
    changes, empty = tmp_path / "changes.jsonl", (tmp_path / "changes.jsonl").read_bytes()
    old = make({0: box(1)})
    session.annotate(3, box(1, 2))
    session.save(tmp_path)
    line = changes.read_bytes().removeprefix(empty)
    for end in (1, len(line) // 2, len(line) - 1):
        changes.write_bytes(empty + line[:end])
        loaded = Session.load(tmp_path, Stub(), FRAMES)
        assert_same(loaded, old)
    loaded.annotate(5, box(1))
    loaded.save(tmp_path)
    assert_same(Session.load(tmp_path, Stub(), FRAMES), loaded)


def test_a_disk_that_takes_a_part_of_a_line_keeps_none_of_it(tmp_path, monkeypatch):
    session = make({0: box(1)})
    session.save(tmp_path)
    before = (tmp_path / "changes.jsonl").read_bytes()
    path = tmp_path / "changes.jsonl"
    with pytest.raises(DataError, match=r"changes\.jsonl cannot be written"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(path), "open", lambda *args, **options: Half(os.open(path, os.O_RDWR)))
        store._append_line(path, {"a": 1})
    assert path.read_bytes() == before


class Half:
    """A file that writes only the first half of a line, as on a full disk."""

    def __init__(self, number):
        self.number = number

    def __enter__(self):
        return self

    def __exit__(self, *error):
        os.close(self.number)

    def seek(self, *place):
        return os.lseek(self.number, *place)

    def truncate(self, size):
        os.ftruncate(self.number, size)

    def write(self, line):
        return os.write(self.number, line[: len(line) // 2])


def test_changes_of_an_older_session_do_not_count(tmp_path):
    session = make({0: box(1)})
    session.save(tmp_path)
    session.annotate(3, box(2))
    session.save(tmp_path)
    older = (tmp_path / "changes.jsonl").read_bytes()
    Session.load(tmp_path, Stub(), FRAMES).save(tmp_path)
    # Writes the older changes again, as if the process had ended after replacing only `session.json`.
    (tmp_path / "changes.jsonl").write_bytes(older.replace(b'"3"', b'"4"'))
    assert_same(Session.load(tmp_path, Stub(), FRAMES), session)


def test_two_sessions_that_save_to_one_folder(tmp_path):
    """The folder contains the session that was saved last.

    The changes of one session are never appended to the file of the other session.
    """
    one, two = make({0: box(1)}), make({4: box(2)})
    for session, t in ((one, 1), (two, 2), (one, 3), (two, 5), (two, 6)):
        session.annotate(t, box(1))
        session.save(tmp_path)
        assert_same(Session.load(tmp_path, Stub(), FRAMES), session)


def test_a_picture_that_is_there_but_damaged_is_written_again(tmp_path):
    session = make({0: box(1)})
    session.save(tmp_path)
    (path,) = (tmp_path / "pictures").iterdir()
    for again in (session, make({0: box(1)})):
        path.write_bytes(b"")  # as after a power failure
        again.annotate(1, box(1))
        again.save(tmp_path)
        assert_same(Session.load(tmp_path, Stub(), FRAMES), again)


@pytest.mark.parametrize("is_new", [False, True], ids=["changes", "anew"])
@pytest.mark.parametrize("place", ["write", "name", "delete"])
@pytest.mark.parametrize("times", [0, 2])
def test_a_process_that_dies_leaves_the_old_session_or_the_new(tmp_path, monkeypatch, is_new, place, times):
    session, old = (make({t: box(1, 2, top=t % 2) for t in range(5)}) for _ in range(2))
    session.save(tmp_path)
    for t in range(4):
        session.annotate(t, box(t + 3))
    session.unannotate(4)
    owner, name = {
        "write": (PictureFiles, "write"),
        "name": (store, "replace_own" if is_new else "_append_line"),
        "delete": (PictureFiles, "delete"),
    }[place]
    calls, work = [], getattr(owner, name)

    def die(*args):
        calls.append(args)
        if len(calls) > times:
            raise KeyboardInterrupt
        return work(*args)

    monkeypatch.setattr(owner, name, die)
    if is_new:
        session._folder = None
    try:
        session.save(tmp_path)
    except KeyboardInterrupt:
        assert len(calls) == times + 1
    expected = session if place == "delete" or len(calls) <= times else old
    assert_same(Session.load(tmp_path, Stub(), FRAMES), expected)
    monkeypatch.undo()
    session.save(tmp_path)
    assert_same(Session.load(tmp_path, Stub(), FRAMES), session)


def test_files_of_others_are_not_touched(tmp_path):
    session = make({0: box(1)})
    (tmp_path / "photo.jpg").write_bytes(b"mine")
    with pytest.raises(DataError, match=r"photo\.jpg is not part of a session\. Pass a new or empty folder"):
        session.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]
    other = tmp_path / "other"
    other.mkdir()
    (other / "session.json").write_text("{}")
    with pytest.raises(DataError, match="not a session file, or is damaged"):
        session.save(other)
    assert (other / "session.json").read_text() == "{}"
    session.save(tmp_path / "third")
    changed = tmp_path / "third" / "session.json"
    changed.write_text(changed.read_text() + " ")
    with pytest.raises(DataError, match="was not written by this program, or was changed later"):
        session.save(tmp_path / "third")
    session.save(tmp_path / "fourth")
    changed = tmp_path / "fourth" / "changes.jsonl"
    changed.write_text("mine")
    with pytest.raises(DataError, match=r"changes\.jsonl: the file is not a session file"):
        session.save(tmp_path / "fourth")
    assert changed.read_text() == "mine"
    with pytest.raises(DataError, match=r"photo\.jpg"):
        session.save(tmp_path / "photo.jpg")


def edited(change):
    def apply(folder):
        path = folder / "session.json"
        found = json.loads(path.read_text())
        change(found)
        path.write_text(json.dumps(found))

    return apply


def appended(line):
    def apply(folder):
        path = folder / "changes.jsonl"
        path.write_text(path.read_text() + line + "\n")

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
    "changes of something else": lambda folder: (folder / "changes.jsonl").write_text("mine"),
    "damaged changes": appended("[]"),
    "a line of something else": appended('{"gone": 1}'),
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
    with pytest.raises(DataError, match="not a session file, or is damaged") as error:
        Session.load(tmp_path, Stub(), FRAMES)
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)


def test_another_video_is_rejected(tmp_path):
    make({0: box(1)}).save(tmp_path)
    with pytest.raises(DataError, match=r"the session have 6x5 pixels, but the video has 8x4\. Pass the video"):
        Session.load(tmp_path, Stub(), clip(9, 4, 8))
