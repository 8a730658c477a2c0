"""Tests random access to built data sets, and errors for damaged and incomplete builds."""

import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from data.build import build, main, make_config
from data.source import open_source
from hmmn_jax.errors import ConfigError, DataError
from hmmn_jax.io import record
from tests.data import folders


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    home = tmp_path_factory.mktemp("source")
    root = folders.davis(home / "in", {"a": [[1]] * 5, "b": [[1, 2]] * 4})
    build("davis", make_config("davis", "2017", None, []), root, home / "built")
    return home


def jpegs(home):
    return [path.read_bytes() for name in "ab" for path in sorted((home / "in/JPEGImages/480p" / name).iterdir())]


def test_any_record_in_any_order_from_many_threads(built):
    source, expected = open_source("davis/2017", built / "built"), jpegs(built)
    orders = [np.random.default_rng(i).permutation(9) for i in range(40)]
    with ThreadPoolExecutor(8) as pool:
        for order, (images, masks) in zip(orders, pool.map(source.fetch, orders), strict=True):
            assert images == [expected[i] for i in order] and all(masks)
    assert source.fetch(np.array([], int)) == ([], [])
    for wrong in (-1, 9):
        with pytest.raises(IndexError):
            source.fetch(np.array([wrong]))


def test_pickled(built):
    source, expected = open_source("davis/2017", built / "built"), jpegs(built)
    assert pickle.loads(pickle.dumps(source)).fetch([8])[0] == [expected[8]]


def test_a_fork_is_rejected_where_it_would_crash(built, monkeypatch):
    source = open_source("davis/2017", built / "built")
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(DataError, match=r"davis/2017 was opened before a fork\. Start processes with the spawn method"):
        source.fetch([0])


def test_what_was_never_built(built, tmp_path):
    with pytest.raises(
        DataError,
        match=r"davis/2016 has not been built\. .* contains davis/2017\. Build the data set with python -m data\.build",
    ):
        open_source("davis/2016", built / "built")
    with pytest.raises(DataError, match=r"not been built\. .* contains nothing"):
        open_source("davis/2017", tmp_path / "none")


@pytest.fixture
def copy(built, tmp_path):
    root = built / "in"
    build("davis", make_config("davis", "2017", None, []), root, tmp_path)
    return tmp_path / "davis/2017/1.0.0"


def test_damage_on_disk(copy):
    data_dir = copy.parent.parent.parent
    (record_file,) = copy.glob("*.array_record*")
    whole = record_file.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], whole[:1000] + bytes(len(whole) - 1000)):
        record_file.write_bytes(damaged)
        with pytest.raises(DataError, match=r"1\.0\.0 .*Build the data set with python -m data\.build --overwrite"):
            open_source("davis/2017", data_dir).fetch(np.arange(9))
    record_file.write_bytes(whole)
    (copy / "dataset_info.json").write_text("{")
    with pytest.raises(DataError, match="cannot be opened"):
        open_source("davis/2017", data_dir)
    (copy / "index-train.npz").unlink()
    with pytest.raises(DataError, match=r"no split 'train'\. Available splits: nothing"):
        open_source("davis/2017", data_dir)


def test_a_second_build_asks_and_a_failed_one_leaves_the_first(built, copy, tmp_path, monkeypatch):
    config = make_config("davis", "2017", None, [])
    with pytest.raises(DataError, match=r"already exists\. Pass --overwrite"):
        build("davis", config, built / "in", tmp_path)
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    monkeypatch.setattr("data.index.Index.save", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(DataError, match=r"cannot be written: No space left on device. Free some space"):
        build("davis", config, built / "in", tmp_path, overwrite=True)
    assert before == {path.name: path.read_bytes() for path in copy.iterdir()}
    assert os.listdir(tmp_path / ".unfinished") == ["davis-2017.lock"]
    monkeypatch.undo()
    build("davis", config, built / "in", tmp_path, overwrite=True)
    assert len(open_source("davis/2017", tmp_path).index.names) == 9


STUCK_BUILD = """
import sys, time
import data.frames_builder
from data.build import main
def stuck(*args, **options):
    print("reading", file=sys.stderr, flush=True)
    time.sleep(3600)
data.frames_builder.read_frame = stuck
main()
"""


def test_a_killed_build_never_looks_whole_and_can_be_started_again(built, tmp_path):
    command = ["davis", "--source", str(built / "in"), "--data_dir", str(tmp_path)]
    killed = subprocess.Popen([sys.executable, "-c", STUCK_BUILD, *command], stderr=subprocess.PIPE, text=True)
    while "reading" not in (line := killed.stderr.readline()):
        assert line, "the build ended"
    config = make_config("davis", "2017", None, [])
    with pytest.raises(ConfigError, match=r"davis/2017/1\.0\.0: the folder is in use by process"):
        build("davis", config, built / "in", tmp_path)
    killed.kill()
    killed.wait()
    killed.stderr.close()
    with pytest.raises(DataError, match="2017: a build was interrupted"):
        open_source("davis/2017", tmp_path)
    build("davis", config, built / "in", tmp_path)
    assert len(open_source("davis/2017", tmp_path).index.names) == 9


def test_the_command(built, tmp_path, monkeypatch, capsys):
    command = ["build", "davis", "--source", str(built / "in"), "--data_dir", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", command)
    assert main() == 0
    assert capsys.readouterr().out.splitlines() == [
        "davis/2017 train: videos: 2, frames: 9, frames with masks: 9, objects: 3",
        f"The data set was written to {tmp_path}/davis/2017/1.0.0. "
        "The file problems-SPLIT.txt in this folder lists all problems.",
    ]
    assert main() == 2 and capsys.readouterr().err.startswith(f"data.build: {tmp_path}/davis/2017/1.0.0 already exists")
    monkeypatch.setattr(sys, "argv", [*command[:2], "--source", "~nobody-of-this-name/in", "--data_dir", str(tmp_path)])
    assert main() == 2 and capsys.readouterr().err.startswith("data.build: ~nobody-of-this-name/in: ")


def rebuild(built, tmp_path, **options):
    return build("davis", make_config("davis", "2017", None, []), built / "in", tmp_path, **options)


def test_files_of_others_stay_where_a_build_is_replaced(built, copy, tmp_path):
    (copy / "notes.txt").write_text("mine")
    rebuild(built, tmp_path, overwrite=True)
    assert (copy / "notes.txt").read_text() == "mine"
    problems = copy / "problems-train.txt"
    problems.write_text("annotated by hand")
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    with pytest.raises(DataError, match=r"problems-train\.txt was not written by this program, or was changed later"):
        rebuild(built, tmp_path, overwrite=True)
    assert before == {path.name: path.read_bytes() for path in copy.iterdir()}
    problems.unlink()
    rebuild(built, tmp_path, overwrite=True)
    assert len(open_source("davis/2017", tmp_path).index.names) == 9


def test_a_folder_without_a_record_is_left_as_it_is(built, copy, tmp_path):
    (copy / "record.json").unlink()
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    for overwrite in (False, True):
        with pytest.raises(
            DataError, match=r"1\.0\.0 contains files, but no record\.json, .* Build under another name with --as"
        ):
            rebuild(built, tmp_path, overwrite=overwrite)
    assert before == {path.name: path.read_bytes() for path in copy.iterdir()}
    assert len(open_source("davis/2017", tmp_path).index.names) == 9


def test_an_overwriting_build_that_was_cut_off(built, copy, tmp_path, monkeypatch):
    move, moved = record.move, []

    def killed(source, target):
        if len(moved) == 3:
            raise KeyboardInterrupt
        moved.append(target)
        move(source, target)

    monkeypatch.setattr(record, "move", killed)
    with pytest.raises(KeyboardInterrupt):
        rebuild(built, tmp_path, overwrite=True)
    monkeypatch.undo()
    with pytest.raises(DataError, match=r"1\.0\.0: a build that replaced an earlier build was interrupted"):
        open_source("davis/2017", tmp_path)
    rebuild(built, tmp_path)
    assert len(open_source("davis/2017", tmp_path).index.names) == 9


def test_only_a_folder_with_the_mark_of_a_build_is_removed(built, tmp_path):
    unfinished = tmp_path / ".unfinished/davis-2017.build"
    unfinished.mkdir(parents=True)
    (unfinished / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match=r"davis-2017\.build exists, but is not the folder of an unfinished build"):
        rebuild(built, tmp_path)
    assert (unfinished / "mine.txt").read_text() == "mine"
    (unfinished / ".unfinished-build").touch()
    (unfinished / "elsewhere").symlink_to(built / "in")
    rebuild(built, tmp_path)
    assert not unfinished.exists() and (built / "in/JPEGImages").is_dir()
