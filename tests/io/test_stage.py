"""Tests local copies of inputs in buckets. Copies are complete and reused, and never replace a user's files."""

import pytest

from hmmn_jax.errors import DataError
from hmmn_jax.io import stage as staging
from hmmn_jax.io.buckets import as_path
from hmmn_jax.io.stage import Stage


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def remote(bucket):
    for name, content in {"a": b"one", "deep/b": b"two", "deep/c": b"three"}.items():
        bucket.pipe(f"gs://b/set/{name}", content)
    return as_path("gs://b/set")


def test_a_folder_is_copied_once_and_changes_follow(remote, bucket, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(staging, "_PART", 4)  # so that copied files are recorded in several parts
    with Stage(tmp_path) as stage:
        copy = stage.fetch(remote)
    assert copy == tmp_path / "gs/b/set" and files(copy) == {"a": b"one", "deep/b": b"two", "deep/c": b"three"}
    assert "3 files (0.0 MB) are being copied to" in capsys.readouterr().err

    with monkeypatch.context() as patch, Stage(tmp_path) as stage:
        patch.setattr(staging, "download", None)  # another download would raise an error
        assert stage.fetch(remote) == copy
    bucket.pipe("gs://b/set/a", b"new")
    bucket.rm("gs://b/set/deep/c")
    with Stage(tmp_path) as stage:
        stage.fetch(remote)
    assert files(copy) == {"a": b"new", "deep/b": b"two"}
    assert "1 files" in capsys.readouterr().err


def test_some_files_or_a_single_one(remote, tmp_path):
    with Stage(tmp_path) as stage:
        assert files(stage.fetch(remote, lambda name: name.startswith("deep"))) == {"deep/b": b"two", "deep/c": b"three"}
        assert stage.fetch(remote / "a").read_bytes() == b"one"
        assert stage.fetch(tmp_path) is tmp_path
        with pytest.raises(DataError, match="gs://b/none: no such file or folder in the bucket"):
            stage.fetch(as_path("gs://b/none"))


def test_without_a_folder_copies_are_temporary(remote):
    with Stage() as stage:
        copy = stage.fetch(remote)
        assert (copy / "a").read_bytes() == b"one"
    assert not copy.exists()


def test_files_of_a_user_stay(remote, tmp_path):
    (tmp_path / "gs/b/set/deep").mkdir(parents=True)
    (tmp_path / "gs/b/set/deep/b").write_text("mine")
    with Stage(tmp_path) as stage, pytest.raises(DataError, match=r"deep/b was not written by this program"):
        stage.fetch(remote)
    assert files(tmp_path / "gs/b/set") == {"deep/b": b"mine"}


def test_a_copy_that_was_changed_is_not_used(remote, tmp_path):
    with Stage(tmp_path) as stage:
        copy = stage.fetch(remote)
        (copy / "a").write_text("changed")
        with pytest.raises(DataError, match="set/a was not written by this program, or was changed later"):
            stage.fetch(remote)
