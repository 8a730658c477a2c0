"""Tests the checkpoints of a run: saving and restoring, which steps are kept, damaged files, full disks, and user files."""

import itertools
import resource
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import jax
import numpy as np
import optax
import pytest

from hmmn_jax.checkpoints.steps import finished_steps, step_record
from hmmn_jax.errors import CheckpointError
from hmmn_jax.io.buckets import as_path
from hmmn_jax.training import checkpoint
from hmmn_jax.training.checkpoint import Checkpoints, is_validated, require_free_step, restore_latest
from hmmn_jax.training.optimizer import make_optimizer
from hmmn_jax.training.train_state import TrainState

ROOT = Path(__file__).parent.parent.parent


def state_at(step, ema=True, size=1000):
    """Returns a state for a step. Integer leaves equal the step. Float leaves are the step plus different multiples of 0.01."""
    variables = {"params": {"a": {"kernel": np.zeros((size, 4), np.float32)}}, "constants": {"mean": np.zeros(3, np.float32)}}
    state = TrainState.create(variables, optax.adam(1e-3), ema)
    numbers = itertools.count()
    return jax.tree.map(lambda x: np.full(x.shape, step + (x.dtype != np.int32) * next(numbers) / 100, x.dtype), state)


def assert_same(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert (a.dtype, a.shape, np.asarray(a).tobytes()) == (b.dtype, b.shape, np.asarray(b).tobytes())


@pytest.mark.parametrize("ema", [False, True])
def test_what_is_saved_is_restored(tmp_path, ema):
    with Checkpoints(tmp_path, keep=2, keep_best=0) as checkpoints:
        checkpoints.save(jax.tree.map(jax.numpy.asarray, state_at(7, ema)))
    assert_same(restore_latest(tmp_path, state_at(0, ema)), state_at(7, ema))


def test_a_step_is_read_from_a_bucket(tmp_path, bucket):
    with Checkpoints(tmp_path, keep=2, keep_best=0) as checkpoints:
        checkpoints.save(state_at(7))
    bucket.put(str(tmp_path), "gs://b/run", recursive=True)
    assert finished_steps(as_path("gs://b/run")) == [7]
    assert_same(checkpoint.read_step(as_path("gs://b/run"), 7, state_at(0)), state_at(7))
    with pytest.raises(CheckpointError, match="gs://b/run/checkpoints/8 cannot be read as a checkpoint"):
        checkpoint.read_step(as_path("gs://b/run"), 8, state_at(0))


def test_a_state_with_frozen_parts_is_restored(tmp_path):
    params = {"backbone": {"kernel": np.ones((3, 4), np.float32)}, "decoder": {"kernel": np.ones((2, 5), np.float32)}}
    optimizer = make_optimizer("adamw", 0.1, weight_decay=0.1, clip_norm=1.0, parts={"backbone": 0.0})
    state = TrainState.create({"params": params}, optimizer)
    _, opt_state = optimizer.update(state.params, state.opt_state, state.params)
    state = state.replace(opt_state=opt_state, step=jax.numpy.int32(1))
    with Checkpoints(tmp_path, keep=2, keep_best=0) as checkpoints:
        checkpoints.save(state)
    assert_same(restore_latest(tmp_path, TrainState.create({"params": params}, optimizer)), state)


def test_a_saved_state_may_be_donated_at_once(tmp_path):
    donate = jax.jit(lambda state: jax.tree.map(lambda x: x * 0, state), donate_argnums=0)
    with Checkpoints(tmp_path, keep=2, keep_best=0) as checkpoints:
        state = jax.tree.map(jax.numpy.asarray, state_at(7))
        checkpoints.save(state)
        jax.block_until_ready(donate(state))
    assert_same(restore_latest(tmp_path, state_at(0)), state_at(7))


def test_saved_by_two_processes_restored_by_one(tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tests.training.two_processes", str(tmp_path), str(port)]
    processes = [subprocess.Popen([*command, str(i)], cwd=ROOT, stderr=subprocess.PIPE, text=True) for i in range(2)]
    said = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert finished_steps(tmp_path) == [3, 5]
    assert_same(restore_latest(tmp_path, state_at(0)), state_at(5))


def test_nothing_to_restore(tmp_path):
    assert restore_latest(tmp_path, state_at(0)) is None
    assert not list(tmp_path.iterdir())


def test_the_latest_and_the_best_are_kept(tmp_path):
    scores = {2: 0.5, 4: 0.9, 6: 0.7, 8: None, 10: 0.3}
    for steps in ((2, 4, 6), (8, 10)):  # the second run reads the scores that the first run wrote
        with Checkpoints(tmp_path, keep=2, keep_best=1) as checkpoints:
            for step in steps:
                checkpoints.save(state_at(step), scores[step] and {"jf": scores[step]})
    assert finished_steps(tmp_path) == [4, 8, 10]


def test_scores_come_after_the_checkpoint(tmp_path):
    """Scores can be added before or after a checkpoint is complete. Scores of a step without a checkpoint are ignored."""
    with Checkpoints(tmp_path, keep=1, keep_best=1) as checkpoints:
        checkpoints.save(state_at(2))
        checkpoints.score(2, {"jf": 0.9})
        checkpoints.save(state_at(4))
        checkpoints.wait()
        assert is_validated(tmp_path, 2) and not is_validated(tmp_path, 4)
        checkpoints.score(4, {"jf": 0.5})
        checkpoints.score(3, {"jf": 0.99})
        checkpoints.save(state_at(6))
    assert finished_steps(tmp_path) == [2, 6]
    assert is_validated(tmp_path, 2) and is_validated(tmp_path, 5) and not is_validated(tmp_path, 6)


@pytest.mark.parametrize("item", ["variables", "training"])
@pytest.mark.parametrize("harm", ["truncated", "missing"])
def test_a_damaged_checkpoint_is_passed_over(tmp_path, item, harm):
    with Checkpoints(tmp_path, keep=3, keep_best=0) as checkpoints:
        for step in (2, 4):
            checkpoints.save(state_at(step))
    for file in [*(tmp_path / "checkpoints/4" / item).rglob("*")]:
        if file.is_file():
            content = file.read_bytes()
            file.write_bytes(content[: len(content) // 2]) if harm == "truncated" else file.unlink()
    with pytest.warns(UserWarning, match="checkpoints/4 cannot be read"):
        found = restore_latest(tmp_path, state_at(0))
    assert_same(found, state_at(2))
    assert (tmp_path / "damaged/4").is_dir()
    with Checkpoints(tmp_path, keep=3, keep_best=0) as checkpoints:  # the resumed run saves step 4 again
        checkpoints.save(state_at(4))
    assert_same(restore_latest(tmp_path, state_at(0)), state_at(4))


def test_only_damaged_checkpoints(tmp_path):
    """No checkpoint is moved if all checkpoints are damaged.

    A second attempt reports the same error, and does not start at step 0.
    """
    with Checkpoints(tmp_path, keep=3, keep_best=0) as checkpoints:
        for step in (2, 4):
            checkpoints.save(state_at(step))
    for step in (2, 4):
        (tmp_path / f"checkpoints/{step}/training/manifest.ocdbt").unlink()
    before = files(tmp_path)
    told = []
    for _ in range(2):
        with pytest.raises(
            CheckpointError, match=r"none of the 2 checkpoints could be read: .*checkpoints/4 cannot be read"
        ) as caught:
            restore_latest(tmp_path, state_at(0))
        told.append(str(caught.value))
        assert files(tmp_path) == before
    assert "\n" not in "".join(told)


@pytest.mark.parametrize(
    "about", ['{"scores": 5}', '{"scores": {}}', '{"scores": {"jf": "high"}}', "[1]", "5", '"x"', "{", None]
)
def test_a_record_that_is_not_one_of_a_checkpoint(tmp_path, about):
    with Checkpoints(tmp_path, keep=1, keep_best=1) as checkpoints:
        checkpoints.save(state_at(2), {"jf": 0.5})
        checkpoints.wait()
        path = step_record(tmp_path, 2).path
        path.write_text("mine" if about is None else f'{{"format": 1, "about": {about}, "files": {{}}}}')
        before = files(tmp_path / "checkpoints/2"), path.read_bytes()
        checkpoints.save(state_at(4))
        with pytest.raises(CheckpointError) as caught:
            checkpoints.wait()
    with pytest.raises(CheckpointError, match=r"checkpoints/2\.json: the file is not a checkpoint record") as again:
        Checkpoints(tmp_path, keep=1, keep_best=1)
    message = str(caught.value)
    assert message == str(again.value) and message.startswith(f"{path}: the file is not a checkpoint record of hmmn-jax")
    assert "Free some space" not in message and "\n" not in message
    assert (files(tmp_path / "checkpoints/2"), path.read_bytes()) == before
    assert_same(restore_latest(tmp_path, state_at(0)), state_at(4))


def test_files_of_a_user_among_the_records_stay(tmp_path):
    folder = tmp_path / "record/checkpoints"
    folder.mkdir(parents=True)
    for name in ("12 notes.json", "007.json"):
        (folder / name).write_text("mine")
    Checkpoints(tmp_path, keep=1, keep_best=0)
    (folder / "7.json").write_text("mine")  # named like a record, but step 7 has no checkpoint
    with pytest.raises(CheckpointError, match=r"checkpoints/7\.json: the file is not a checkpoint record"):
        Checkpoints(tmp_path, keep=1, keep_best=0)
    assert set(files(folder).values()) == {b"mine"} and len(files(folder)) == 3


def test_a_state_of_other_shapes(tmp_path):
    with Checkpoints(tmp_path, keep=3, keep_best=0) as checkpoints:
        checkpoints.save(state_at(2))
    with pytest.raises(CheckpointError, match=r"expected float32 of shape \(7, 4\)"):
        checkpoint.read_step(tmp_path, 2, state_at(0, size=7))


def test_a_full_disk_is_seen_before_anything_is_written(tmp_path, monkeypatch):
    with Checkpoints(tmp_path, keep=3, keep_best=0) as checkpoints:
        checkpoints.save(state_at(2))
        monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 90, 10))
        with pytest.raises(
            CheckpointError, match=r"step 4 .* 10 are free.* last complete checkpoint is that of step 2\. Free some space"
        ):
            checkpoints.save(state_at(4))


def test_a_disk_that_fills_up_leaves_the_last_checkpoint(tmp_path):
    """The size of files is limited to 20 kB, so the large tensor cannot be written."""
    with Checkpoints(tmp_path, keep=1, keep_best=0) as checkpoints:
        checkpoints.save(state_at(2))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    large = state_at(4)
    noise = np.random.default_rng(0).normal(size=(100_000, 4)).astype(np.float32)
    large.params["a"]["kernel"] = noise
    with pytest.raises(CheckpointError) as caught, Checkpoints(tmp_path, keep=1, keep_best=0) as checkpoints:
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
            checkpoints.save(large)
            checkpoints.wait()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    message = str(caught.value)
    assert (
        "step 4 cannot be written" in message
        and "last complete checkpoint is that of step 2" in message
        and "\n" not in message
    )
    assert_same(restore_latest(tmp_path, state_at(0)), state_at(2))


def test_what_was_incomplete_is_cleared_away(tmp_path):
    """The process was killed while it wrote step 6. The folder of step 7 has no record, so it belongs to a user."""
    for step in (6, 7):
        left = tmp_path / f"checkpoints/{step}.orbax-checkpoint-tmp"
        for item in ("variables.orbax-checkpoint-tmp/d", "training"):
            (left / item).mkdir(parents=True)
            (left / item / "half").write_bytes(b"half")
    step_record(tmp_path, 6).adopt((), None)
    with Checkpoints(tmp_path, keep=1, keep_best=0) as checkpoints:
        assert checkpoints.save(state_at(6))
        assert not checkpoints.save(state_at(7))
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["6", "7.orbax-checkpoint-tmp"]


def test_a_user_s_file_in_what_was_incomplete_stays(tmp_path):
    left = tmp_path / "checkpoints/6.orbax-checkpoint-tmp"
    (left / "variables").mkdir(parents=True)
    (left / "variables/half").write_bytes(b"half")
    (left / "notes.txt").write_text("mine")
    step_record(tmp_path, 6).adopt((), None)
    with Checkpoints(tmp_path, keep=1, keep_best=0) as checkpoints:
        assert not checkpoints.save(state_at(6))
    assert files(tmp_path / "checkpoints") == {Path("6.orbax-checkpoint-tmp/notes.txt"): b"mine"}


def test_a_step_that_was_written_but_not_yet_recorded_counts(tmp_path):
    with Checkpoints(tmp_path, keep=3, keep_best=0) as checkpoints:
        checkpoints.save(state_at(2))
    step_record(tmp_path, 2).adopt((), None)  # until a step is complete, its record lists no files
    with Checkpoints(tmp_path, keep=1, keep_best=0) as checkpoints:
        checkpoints.save(state_at(4))
    assert finished_steps(tmp_path) == [4]


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_a_user_put_among_the_checkpoints_does_not_change(tmp_path, capsys):
    """A user's copies of a checkpoint and folders with names such as 6, 007 or best are not restored, moved or deleted."""
    with Checkpoints(tmp_path, keep=2, keep_best=0) as checkpoints:
        checkpoints.save(state_at(2))
    folder = tmp_path / "checkpoints"
    shutil.copytree(folder / "2", folder / "1")
    shutil.copytree(folder / "2", folder / "90")
    for name in ("6", "007", "²", "best"):
        (folder / name).mkdir()
        (folder / name / "notes.txt").write_text("mine")
    mine = {name: files(folder / name) for name in ("1", "90", "6", "007", "²", "best")}
    capsys.readouterr()
    assert_same(restore_latest(tmp_path, state_at(0)), state_at(2))
    with Checkpoints(tmp_path, keep=2, keep_best=0) as checkpoints:
        assert [checkpoints.save(state_at(step)) for step in (4, 6, 8)] == [True, False, True]
    assert finished_steps(tmp_path) == [4, 8]
    assert {name: files(folder / name) for name in mine} == mine
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2 and said[1].startswith("NOTE: step 6 is not saved")
    assert "these paths were not written by this run: 1, 6, 7, 90" in said[0]
    with pytest.raises(CheckpointError, match="checkpoints/90 was not written by this run, but the run needs this path"):
        require_free_step(tmp_path, 90)


def test_what_a_user_put_into_a_checkpoint_does_not_change(tmp_path, capsys):
    with Checkpoints(tmp_path, keep=1, keep_best=0) as checkpoints:
        checkpoints.save(state_at(2))
        checkpoints.wait()
        (tmp_path / "checkpoints/2/notes.txt").write_text("mine")
        checkpoints.save(state_at(4))
    assert files(tmp_path / "checkpoints/2") == {Path("notes.txt"): b"mine"}
    assert "checkpoints/2 contains files that were changed or that this run did not write" in capsys.readouterr().err
    assert finished_steps(tmp_path) == [4]


@pytest.mark.parametrize("killed", [False, True])
def test_what_a_user_put_into_a_checkpoint_before_it_was_recorded_does_not_change(tmp_path, killed):
    folder = tmp_path / "checkpoints/1"
    with Checkpoints(tmp_path, keep=1, keep_best=0) as checkpoints:
        checkpoints.save(state_at(1))
        checkpoints._manager.wait_until_finished()
        (folder / "mine/empty").mkdir(parents=True)
        for name in ("NOTES.txt", "mine/variables"):
            (folder / name).write_text("mine")
        if killed:  # the next process finds a checkpoint whose files are not recorded
            checkpoints._writing = None
            checkpoints._manager.close()
            checkpoints = Checkpoints(tmp_path, keep=1, keep_best=0)
        checkpoints.save(state_at(2))
        checkpoints.save(state_at(3))
        checkpoints.wait()
    assert finished_steps(tmp_path) == [3]
    assert files(folder) == {Path("NOTES.txt"): b"mine", Path("mine/variables"): b"mine"}
    assert (folder / "mine/empty").is_dir()


def test_a_damaged_checkpoint_is_moved_to_a_free_place(tmp_path):
    with Checkpoints(tmp_path, keep=2, keep_best=0) as checkpoints:
        for step in (2, 4):
            checkpoints.save(state_at(step))
    (tmp_path / "checkpoints/4/training/manifest.ocdbt").unlink()
    for name in ("4", "4-1"):
        (tmp_path / "damaged" / name).mkdir(parents=True)
        (tmp_path / "damaged" / name / "notes.txt").write_text("mine")
    with pytest.warns(UserWarning, match="cannot be read"):
        assert_same(restore_latest(tmp_path, state_at(0)), state_at(2))
    assert sorted(path.name for path in (tmp_path / "damaged").iterdir()) == ["4", "4-1", "4-2"]
    assert files(tmp_path / "damaged/4") == files(tmp_path / "damaged/4-1") == {Path("notes.txt"): b"mine"}


def test_a_workdir_that_is_removed_in_the_meantime_is_reported_in_one_line(tmp_path):
    with pytest.raises(CheckpointError) as caught, Checkpoints(tmp_path / "run", keep=1, keep_best=0) as checkpoints:
        shutil.rmtree(tmp_path / "run")
        checkpoints.save(state_at(2))
    assert "step 2 cannot be written (No such file or directory)" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [jax.errors.JaxRuntimeError, ValueError])
def test_a_lost_process_is_not_reported_as_a_full_disk(tmp_path, kind):
    """A process that saves a checkpoint waits for the other processes. If one of them is killed, the connection is lost."""
    lost = kind("UNKNOWN: Gloo all-reduce failed: [gloo/transport/tcp/pair.cc:534] Connection reset by peer")
    with Checkpoints(tmp_path, keep=1, keep_best=0) as checkpoints:
        checkpoints._manager.save = Mock(side_effect=lost)
        with pytest.raises(kind, match="Connection reset by peer"):
            checkpoints.save(state_at(2))
