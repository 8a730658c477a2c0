"""Tests that files are written atomically."""

import errno
import os

import pytest

from hmmn_jax.errors import DataError
from hmmn_jax.io.files import atomic_path, check_name


def test_the_file_appears_at_the_end_in_a_folder_made_for_it(tmp_path):
    path = tmp_path / "new" / "notes.txt"
    with atomic_path(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists() and temporary.parent == path.parent and temporary.suffix == ".txt"
    assert path.read_text() == "whole" and os.listdir(path.parent) == ["notes.txt"]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_a_failing_body_leaves_the_older_file_alone(tmp_path, error):
    path = tmp_path / "notes.txt"
    path.write_text("older")
    with pytest.raises(type(error)), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "older" and os.listdir(tmp_path) == ["notes.txt"]


def test_a_full_disk_is_reported_in_one_line(tmp_path):
    with pytest.raises(DataError) as caught, atomic_path(tmp_path / "notes.txt") as temporary:
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert (
        str(caught.value)
        == f"{tmp_path / 'notes.txt'} cannot be written: No space left on device. Free some space, or write to another disk"
    )
    assert os.listdir(tmp_path) == []


def test_a_replacement_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def refuse(source, target):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)
    with (
        pytest.raises(DataError, match=r"Permission denied\. Choose a writable location"),
        atomic_path(tmp_path / "notes.txt") as temporary,
    ):
        temporary.write_text("whole")
    assert os.listdir(tmp_path) == []


def test_neither_a_folder_is_overwritten_nor_a_file_taken_for_a_folder(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(DataError, match="Choose a path that is not a folder"), atomic_path(tmp_path / "taken") as temporary:
        temporary.write_text("whole")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"), atomic_path(tmp_path / "file" / "notes.txt"):
        pass
    assert sorted(os.listdir(tmp_path)) == ["file", "taken"]


def test_names_too_long_for_files_made_from_them():
    assert check_name("a" * 240, "list.txt") == "a" * 240
    assert check_name("\udcff" * 240, "list.txt") == "\udcff" * 240  # each character stands for a byte that is not UTF-8
    for name in ("a" * 241, "\u00e9" * 121):
        with pytest.raises(DataError, match=r"list\.txt: .*has 24[12] bytes.* Rename the sequence"):
            check_name(name, "list.txt")
