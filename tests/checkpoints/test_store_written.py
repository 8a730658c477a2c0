"""Tests how checkpoint folders are written, and how checkpoints in buckets are read and written."""

import errno
import json
import shutil

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from hmmn_jax.checkpoints.steps import RECORDS, STEPS, VARIABLES, find_step, finished_steps
from hmmn_jax.checkpoints.store import CONFIG_FILE, METADATA_KEY, config_to_json, load_checkpoint, save_checkpoint
from hmmn_jax.checkpoints.torch_file import read_torch_file, write_torch_file
from hmmn_jax.checkpoints.torch_weights import to_torch
from hmmn_jax.errors import CheckpointError, DataError
from hmmn_jax.io.buckets import as_path
from tests.buckets import UnreachableBucket, serving
from tests.checkpoints.loading import assert_equal, refusal
from tests.small import SMALL, variables


def failure(path):
    """Returns the error message of a failed save. Asserts that the message is one line and contains the path."""
    with pytest.raises(CheckpointError) as caught:
        save_checkpoint(path, variables(), SMALL)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_what_exists_does_not_change(tmp_path):
    path = tmp_path / "OUT"
    path.write_text("mine")
    assert "already exists" in failure(path)
    assert path.read_text() == "mine"


def test_a_parent_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("mine")
    assert "Not a directory" in failure(tmp_path / "file" / "OUT")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_partial_folder_of_another_does_not_change(tmp_path):
    mine = tmp_path / ".OUT.partial/mine"
    mine.parent.mkdir()
    mine.write_text("mine")
    save_checkpoint(tmp_path / "OUT", variables(), SMALL)
    assert mine.read_text() == "mine" and sorted(path.name for path in tmp_path.iterdir()) == [".OUT.partial", "OUT"]


def test_a_full_disk_is_seen_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 90, 10))
    assert "10 are free" in failure(tmp_path / "OUT")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), ValueError("RESOURCE_EXHAUSTED\nmore")])
def test_a_disk_that_fills_up_leaves_nothing(tmp_path, monkeypatch, error):
    def save(self, path, tree):
        path.mkdir()
        (path / "half").write_bytes(b"half")
        raise error

    monkeypatch.setattr(ocp.StandardCheckpointer, "save", save)
    assert str(error.args[-1]).splitlines()[0] in failure(tmp_path / "OUT")
    assert not list(tmp_path.iterdir())


def test_checkpoints_in_a_bucket(saved, tmp_path, bucket):
    write_torch_file(tmp_path / "w.safetensors", to_torch(variables(), SMALL), {METADATA_KEY: config_to_json(SMALL)})
    bucket.put(str(saved), "gs://b/OUT", recursive=True)
    bucket.put(str(tmp_path / "w.safetensors"), "gs://b/w.safetensors")
    for step, jf in ((2, 0.9), (4, 0.8), (6, None), (8, 0.7)):  # step 6 has no record, and step 8 is not finished
        bucket.put(str(saved / VARIABLES), f"gs://b/run/{STEPS}/{step}/{VARIABLES}", recursive=True)
        if step < 8:
            bucket.pipe(f"gs://b/run/{STEPS}/{step}/commit_success.txt", b"")
        if jf is not None:
            record = {"format": 1, "about": {"scores": {"jf": jf}}, "files": {}}
            bucket.pipe(f"gs://b/run/{RECORDS}/{step}.json", json.dumps(record).encode())
    bucket.put(str(saved / CONFIG_FILE), f"gs://b/run/{CONFIG_FILE}")
    assert finished_steps(as_path("gs://b/run")) == [2, 4] and find_step(as_path("gs://b/run"), "best") == 2
    before = set(bucket.store)
    for name in ("OUT", "w.safetensors", "run"):
        found, config = load_checkpoint(f"gs://b/{name}")
        assert config == SMALL
        assert_equal(found, jax.tree.map(np.asarray, variables()))
    assert set(bucket.store) == before


def test_what_is_wrong_in_a_bucket_is_reported_by_its_path(saved, tmp_path, bucket, monkeypatch):
    assert "no such file or folder" in refusal("gs://b/OUT")
    bucket.pipe("gs://b/w.pth", b"no weights")
    assert "neither a torch.save file nor a safetensors file" in refusal("gs://b/w.pth")
    bucket.put(str(saved / CONFIG_FILE), f"gs://b/OUT/{CONFIG_FILE}")
    assert "Writing may have been interrupted" in refusal("gs://b/OUT")
    bucket.pipe(f"gs://b/OUT/{VARIABLES}/x", b"")
    assert "cannot be read as an Orbax checkpoint" in refusal("gs://b/OUT")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"gs://b/NEW: the path is in a bucket. Pass a local path"):
        save_checkpoint("gs://b/NEW", variables(), SMALL)
    assert not list(tmp_path.iterdir())
    with serving(monkeypatch, UnreachableBucket):
        assert "Check the name of the bucket, your credentials and the network" in refusal("gs://b/OUT")


def test_weights_are_written_to_a_bucket_once(bucket):
    tensors = {"a": np.arange(3.0)}
    write_torch_file("gs://b/new/w.safetensors", tensors)
    assert_equal(read_torch_file("gs://b/new/w.safetensors"), tensors)
    with pytest.raises(CheckpointError, match=r"gs://b/new/w\.safetensors cannot be written: already exists"):
        write_torch_file("gs://b/new/w.safetensors", {})
