"""Tests workdirs in an emulated Cloud Storage bucket: complete and incomplete checkpoints, metrics and pictures."""

import jax
import numpy as np
import optax
import pytest

from hmmn_jax.checkpoints.steps import finished_steps, step_record
from hmmn_jax.errors import DataError
from hmmn_jax.io import objects, uploads
from hmmn_jax.io.buckets import as_path
from hmmn_jax.training.checkpoint import Checkpoints, foreign_steps, restore_latest
from hmmn_jax.training.metrics import read_metrics
from hmmn_jax.training.train_state import TrainState
from hmmn_jax.training.workdir import hold, is_begun, publish
from hmmn_jax.training.writer import Writer
from tools.cloud_storage import BUCKET, emulator


@pytest.fixture(scope="module", autouse=True)
def server():
    with emulator() as url:
        yield url


def state(step):
    """Returns the state of a step, with one parameter tensor that is filled with the step number."""
    variables = {"params": {"w": np.full((3, 4), step, np.float32)}}
    return TrainState.create(jax.tree.map(jax.numpy.asarray, variables), optax.sgd(0.1)).replace(step=np.int32(step))


def names(path):
    return list(objects.objects(path))


def test_checkpoints(server):
    workdir = as_path(f"gs://{BUCKET}/checkpoints")
    with Checkpoints(workdir, keep=2, keep_best=0) as checkpoints:
        for step in (1, 2, 3):
            assert checkpoints.save(state(step))
    assert finished_steps(workdir) == [2, 3]
    assert not [name for name in names(workdir) if name.startswith("checkpoints/1/")]
    assert set(step_record(workdir, 3).files) == set(names(workdir / "checkpoints/3"))
    assert all(digest.startswith("md5:") for digests in step_record(workdir, 3).files.values() for digest in digests)
    assert restore_latest(workdir, state(0)).params["w"][0, 0] == 3


def test_a_checkpoint_that_was_cut_off(server, capsys):
    """In a bucket, the folder of a checkpoint has its final name from the start.

    The incomplete checkpoint of step 2 only lacks `commit_success.txt`, which Orbax writes last.
    """
    workdir = as_path(f"gs://{BUCKET}/cut_off")
    with Checkpoints(workdir, keep=5, keep_best=0) as checkpoints:
        for step in (1, 2):
            checkpoints.save(state(step))
    (workdir / "checkpoints/2/commit_success.txt").unlink()
    step_record(workdir, 2).adopt((), None)  # while a step is being written, its record lists no files
    (workdir / "checkpoints/2/notes.txt").write_text("mine")
    (workdir / "checkpoints/7/notes.txt").write_text("mine")
    assert finished_steps(workdir) == [1] and foreign_steps(workdir) == {7}
    assert restore_latest(workdir, state(0)).step == 1

    with Checkpoints(workdir, keep=5, keep_best=0) as checkpoints:
        assert names(workdir / "checkpoints/2") == ["notes.txt"] and finished_steps(workdir) == [1]
        assert not checkpoints.save(state(7))
    assert "these paths were not written by this run: 2, 7" in capsys.readouterr().err


def test_a_damaged_checkpoint_is_moved_away(server):
    workdir = as_path(f"gs://{BUCKET}/damaged_one")
    with Checkpoints(workdir, keep=5, keep_best=0) as checkpoints:
        for step in (1, 2):
            checkpoints.save(state(step))
    before = names(workdir / "checkpoints/2")
    (workdir / "checkpoints/2/variables/manifest.ocdbt").write_bytes(b"damaged")
    with pytest.warns(UserWarning, match=r"moved to gs://.*/damaged, and the previous checkpoint is used"):
        assert restore_latest(workdir, state(0)).step == 1
    assert names(workdir / "damaged/2") == before and finished_steps(workdir) == [1]


def test_metrics_and_pictures(server, monkeypatch):
    workdir = as_path(f"gs://{BUCKET}/numbers")
    assert not is_begun(workdir)
    with publish(workdir, "config.json", "run.json") as path:
        path.write_text("{}")
    assert is_begun(workdir) and (workdir / "config.json").read_text() == "{}"
    with Writer(workdir, 0) as writer:
        writer.scalars(1, {"loss": 1.0})
        assert read_metrics(workdir) == []  # objects in buckets cannot be extended, so the file is uploaded at intervals
        writer.flush()
        assert read_metrics(workdir) == [{"step": 1, "loss": 1.0}]
        monkeypatch.setattr(uploads, "UPLOAD_SECONDS", 0.0)
        writer.scalars(2, {"loss": 2.0})
        assert read_metrics(workdir)[-1] == {"step": 2, "loss": 2.0}
        for _ in range(2):
            writer.picture(2, "validation", np.zeros((8, 8, 3), np.uint8))
    with Writer(workdir, 1) as writer:
        writer.scalars(2, {"loss": 2.5})
    assert read_metrics(workdir) == [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 2.5}]
    found = names(workdir)
    assert "pictures/validation/0000002.png" in found and sum(name.startswith("tensorboard/") for name in found) == 2

    (workdir / "pictures/validation/0000002.png").write_bytes(b"mine")
    refused = pytest.raises(DataError, match="was not written by this program, or was changed later")
    with refused, publish(workdir, "pictures/validation/0000002.png", "pictures/validation/0000002.png.json"):
        pass


def test_a_workdir_of_someone_else(server):
    workdir = as_path(f"gs://{BUCKET}/other")
    (workdir / "metrics.jsonl").write_text("mine")
    with pytest.raises(DataError, match=r"contains metrics.jsonl, which no run of this program recorded"):
        is_begun(workdir)


def test_a_bucket_that_does_not_exist(server):
    workdir = as_path("gs://no-such-bucket/run")
    refused = pytest.raises(DataError, match=r"gs://no-such-bucket/run: the bucket does not exist\. Create")
    with refused, hold(workdir, is_begun(workdir)):
        pass
