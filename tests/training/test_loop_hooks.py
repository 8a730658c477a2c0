"""Tests validation, hooks and traces during a run, and that a run stops if its loss is not finite or too large."""

import itertools

import numpy as np
import optax
import pytest
from PIL import Image

from hmmn_jax import load_checkpoint
from hmmn_jax.checkpoints.steps import finished_steps
from hmmn_jax.datasets.folders import read_sequence
from hmmn_jax.errors import DivergedError
from hmmn_jax.training.hooks import Hook
from hmmn_jax.training.metrics import read_metrics
from tests.evaluation.plans import plans
from tests.training.runs import STEPS, assert_same, batches
from tests.training.tiny_run import tiny_batch, tiny_config


@pytest.mark.parametrize("bad_step", [3, 4])
def test_a_loss_that_is_not_finite_stops_the_run_and_saves_the_batch(train, tmp_path, bad_step):
    """In the bad batch, all objects are marked as padding. Padding has probability 0, so the loss is not finite.

    The checkpoint of step 4 is not written.
    """

    def poisoned(first_step):
        for step, batch in zip(itertools.count(first_step + 1), batches(first_step), strict=False):
            yield batch | {"valid": np.zeros_like(batch["valid"])} if step == bad_step else batch

    with pytest.raises(DivergedError, match=rf"^step {bad_step}: .* is (inf|nan)\. .*bad_batch_{bad_step}.npz"):
        train(tmp_path, batches=poisoned)
    with np.load(tmp_path / f"bad_batch_{bad_step}.npz") as saved:
        assert not saved["valid"].any()
        for name in ("frames", "masks", "sample", "names"):
            np.testing.assert_array_equal(saved[name], tiny_batch(bad_step - 1)[name])
    assert finished_steps(tmp_path) == [2]


def test_a_diverging_loss_stops_the_run(train, tmp_path):
    with tiny_config(STEPS).unlocked() as config:
        config.stop_above = 0.1
    with pytest.raises(DivergedError, match=r"^step 2: the mean loss of 4 samples is .*, above 0.1"):
        train(tmp_path, config)
    assert (tmp_path / "bad_batch_2.npz").exists()


def test_validation_and_its_best_checkpoint(train, tmp_path):
    root = tmp_path / "davis"
    for kind, image in (("JPEGImages", "jpg"), ("Annotations", "png")):
        folder = root / kind / "480p/cat"
        folder.mkdir(parents=True)
        for t in range(4):
            mask = np.zeros((48, 64), np.uint8)
            mask[10:30, 20 + t : 40 + t] = 1
            Image.fromarray(mask if image == "png" else np.stack([100 * mask + t] * 3, -1)).save(folder / f"{t:05d}.{image}")
    config = tiny_config(STEPS)
    config.validation.every, config.validation.size, config.checkpoint.keep = 8, 32, 1
    workdir = tmp_path / "run"
    _, result = train(workdir, config, validation=plans([read_sequence(root, "cat", "480p")]))
    lines = {line["step"]: line for line in read_metrics(workdir) if "validation/jf" in line}
    assert sorted(lines) == [4, 8]
    assert lines[8]["validation/jf"] == result.scores["jf"] == pytest.approx((result.scores["j"] + result.scores["f"]) / 2)
    assert lines[8]["validation/cat"] == pytest.approx(result.scores["jf"])
    assert [path.name for path in sorted((workdir / "pictures/validation").iterdir())] == ["0000004.png", "0000008.png"]
    best = max(lines, key=lambda step: (lines[step]["validation/jf"], step))
    assert_same(load_checkpoint(workdir, "best")[0], load_checkpoint(workdir, best)[0])


class Log(Hook):
    """Records the metrics that a logger, such as Weights & Biases, would send, and the steps of the saved states."""

    def __init__(self):
        self.lines, self.steps = [], []

    def scalars(self, step, values):
        self.lines.append({"step": step, **values})

    def saved(self, state):
        self.steps.append(int(state.step))
        assert np.isfinite(optax.tree.norm(state.params))


def test_hooks_are_called_in_order(train, tmp_path):
    log = Log()
    train(tmp_path, hooks=[Hook(), log])
    assert log.lines == read_metrics(tmp_path)
    assert log.steps == [2, 4, 6, 8]


def test_a_trace_of_some_steps(train, tmp_path):
    config = tiny_config(STEPS)
    config.profile = "3:4"
    train(tmp_path, config)
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))
