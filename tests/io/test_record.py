"""Tests that a run replaces and deletes only files in its record, even if a process is killed at any point."""

import errno
import hashlib
import json
import os
from pathlib import Path

import pytest

from hmmn_jax.errors import DataError
from hmmn_jax.io import record as module
from hmmn_jax.io.buckets import as_path
from hmmn_jax.io.objects import objects
from hmmn_jax.io.record import Record, remove_leftovers, replace_own, staging_folder


def files(root):
    return {path.relative_to(root).as_posix(): path.read_text() for path in root.rglob("*") if path.is_file()}


def load(root):
    return Record.load(root, root / "record.json")


def publish(root, about=None, **contents):
    """Publishes files with the given contents. In the names of arguments, `__` stands for the `/` of a path."""
    with staging_folder(root / "unfinished") as staged:
        for name, text in contents.items():
            path = staged / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        load(root).publish(staged, about or {})


def results(root):
    return {name: text for name, text in files(root).items() if name != "record.json"}


def test_a_record_names_each_file_with_its_sha256(tmp_path):
    publish(tmp_path, {"inputs": "x"}, masks__a="1", b="2")
    found = json.loads((tmp_path / "record.json").read_text())
    digests = {name: [hashlib.sha256(text).hexdigest()] for name, text in (("masks/a", b"1"), ("b", b"2"))}
    assert found == {"format": 1, "about": {"inputs": "x"}, "files": digests}
    assert results(tmp_path) == {"masks/a": "1", "b": "2"}
    assert load(tmp_path).is_whole({"inputs": "x"}) and not load(tmp_path).is_whole({"inputs": "y"})


def test_a_newer_version_replaces_and_deletes_its_own(tmp_path):
    publish(tmp_path, masks__a="1", movies__b="2", c="3")
    publish(tmp_path, masks__a="new", c="3")
    assert results(tmp_path) == {"masks/a": "new", "c": "3"}
    assert not (tmp_path / "movies").exists()
    load(tmp_path).discard()
    assert not any(tmp_path.iterdir())


def test_the_same_in_a_bucket(bucket):
    root = as_path("gs://b/run")
    publish(root, {"inputs": "x"}, masks__a="1", movies__b="2", c="3")
    assert load(root).is_whole({"inputs": "x"}) and not load(root).is_whole({"inputs": "y"})
    md5 = f"md5:{hashlib.md5(b'1').hexdigest()}"  # Cloud Storage lists this digest for each file
    assert load(root).files["masks/a"] == [hashlib.sha256(b"1").hexdigest(), md5]
    publish(root, masks__a="new", c="3")
    assert sorted(objects(root)) == ["c", "masks/a", "record.json"] and (root / "masks/a").read_text() == "new"

    (root / "c").write_text("the user's")
    (root / "masks/z").write_text("the user's")
    record = load(root)
    assert record.changed() == [root / "c"] and not record.owns("c") and record.owns("masks/a")
    assert set(record.foreign(["c", "masks/a", "masks/z", "masks/new"])) == {root / "c", root / "masks/z"}
    record.discard()
    assert sorted(objects(root)) == ["c", "masks/z"]


def test_a_killed_upload_leaves_no_file_of_unknown_origin(bucket, monkeypatch):
    root = as_path("gs://b/run")

    def cut_off(files):
        for target in list(files)[:1]:
            target.write_bytes(files[target].read_bytes())
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "upload", cut_off)
        publish(root, masks__a="1", masks__b="2")
    assert sorted(objects(root)) == ["masks/a", "record.json"]
    assert load(root).about is None and load(root).foreign(["masks/a", "masks/b"]) == []
    publish(root, masks__a="1", masks__b="2")
    assert load(root).is_whole({})


@pytest.mark.parametrize("user", ["masks/a", "masks/z", "c"])
def test_what_a_user_changed_or_added_stays(tmp_path, user):
    publish(tmp_path, masks__a="1", c="2")
    (tmp_path / user).write_text("the user's")
    record = load(tmp_path)
    assert record.is_whole({}) == (user == "masks/z")
    if user != "masks/z":
        assert record.changed() == [tmp_path / user]
        with pytest.raises(DataError, match=f"{user} was not written by this program, or was changed later. Move it elsewhere"):
            publish(tmp_path, masks__a="3", c="4")
    load(tmp_path).discard()
    assert results(tmp_path) == {user: "the user's"}


def test_a_file_in_place_of_a_folder_and_a_link_are_in_the_way(tmp_path):
    (tmp_path / "masks").write_text("the user's")
    with pytest.raises(DataError, match="masks was not written by this program"):
        publish(tmp_path, masks__a="1", masks__b="2")
    (tmp_path / "masks").unlink()
    (tmp_path / "elsewhere").write_text("1")
    (tmp_path / "a").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="a was not written"):
        publish(tmp_path, a="1")
    (tmp_path / "a").unlink()
    (tmp_path / "a").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DataError, match="a was not written"):
        publish(tmp_path, a="1")
    assert files(tmp_path) == {"elsewhere": "1"}


@pytest.mark.parametrize("step", range(6))
def test_at_every_stop_the_next_run_owns_what_is_there(tmp_path, monkeypatch, step):
    """Replaces two files and deletes a third. One of the steps fails, and the update is then repeated."""
    publish(tmp_path, a="old", b="old", c="old")
    (tmp_path / "notes").write_text("the user's")
    done = []

    def fails_once(function):
        def wrapper(*arguments, **named):
            if len(done) == step:
                done.append(None)
                raise OSError(errno.ENOSPC, "No space left on device")
            done.append(None)
            return function(*arguments, **named)

        return wrapper

    with monkeypatch.context() as patch:
        patch.setattr(module, "move", fails_once(module.move))
        patch.setattr(Record, "_save", fails_once(Record._save))
        patch.setattr(Record, "_delete", fails_once(Record._delete))
        with pytest.raises((DataError, OSError), match="No space left"):
            publish(tmp_path, a="new", b="new")
            publish(tmp_path, a="newer", b="newer")
    assert not load(tmp_path).changed()
    publish(tmp_path, a="new", b="new")
    assert results(tmp_path) == {"a": "new", "b": "new", "notes": "the user's"}


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", "null", '{"format": 2, "about": {}, "files": {}}', '{"format": 1, "about": {}, "files": {"../x": []}}',
     '{"format": 1, "about": {}, "files": {"/etc/x": []}}', '{"format": 1, "about": {}, "files": {"a": 1}}', "[" * 5000],
)  # fmt: skip
def test_what_is_no_record_is_rejected(tmp_path, text):
    (tmp_path / "record.json").write_text(text)
    with pytest.raises(DataError, match=r"record.json is not a record of this program") as error:
        load(tmp_path)
    assert "\n" not in str(error.value)


def test_between_file_systems(tmp_path, monkeypatch):
    replace = os.replace

    def refuses(source, target):
        if os.path.dirname(source) != os.path.dirname(target):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuses)
    publish(tmp_path, masks__a="1")
    assert results(tmp_path) == {"masks/a": "1"}


def test_a_single_file_is_replaced_only_by_the_program_that_wrote_it(tmp_path):
    for text in ("1", "2"):
        with replace_own(tmp_path / "out" / "curves.png") as path:
            path.write_text(text)
    assert (tmp_path / "out" / "curves.png").read_text() == "2"
    (tmp_path / "out" / "curves.png").write_text("the user's")
    (tmp_path / "other.png").write_text("the user's")
    for taken in ("out/curves.png", "other.png"):
        with pytest.raises(DataError, match="not written by this program"), replace_own(tmp_path / taken) as path:
            path.write_text("3")
        assert (tmp_path / taken).read_text() == "the user's"
    with pytest.raises(ZeroDivisionError), replace_own(tmp_path / "third") as path:
        path.write_text("half")
        raise ZeroDivisionError
    assert sorted(files(tmp_path)) == ["other.png", "out/.curves.png.record.json", "out/curves.png"]


@pytest.mark.parametrize("path", ["/", "/a/.."])
def test_a_single_file_needs_a_name(path):
    with pytest.raises(DataError, match="Pass the name of a file"), replace_own(Path(path)):
        pass


def test_leftovers_of_a_killed_process_go_and_nothing_else(tmp_path):
    (tmp_path / "unfinished" / ("0123456789abcdef" * 2) / "masks").mkdir(parents=True)
    (tmp_path / "unfinished" / "mine").mkdir()
    remove_leftovers(tmp_path / "unfinished")
    assert [path.name for path in (tmp_path / "unfinished").iterdir()] == ["mine"]
