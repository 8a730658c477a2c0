"""Tests whole runs of a tiny model: the files they write, interruptions, and resuming."""

import functools
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import Mock

import jax
import numpy as np
import pytest

from hmmn_jax import load_checkpoint
from hmmn_jax.checkpoints.steps import finished_steps
from hmmn_jax.errors import ConfigError
from hmmn_jax.evaluation.plans import Plan
from hmmn_jax.training import loop
from hmmn_jax.training.checkpoint import is_validated
from hmmn_jax.training.hooks import Hook
from hmmn_jax.training.loop import make_optimization
from hmmn_jax.training.metrics import read_metrics
from hmmn_jax.training.start import require_same_config, starting_state
from hmmn_jax.training.validation import Validation
from tests.training.runs import STEPS, assert_same, batches
from tests.training.tiny_run import MODEL, tiny_batch, tiny_config

ROOT = Path(__file__).parent.parent.parent


def test_a_whole_run(undisturbed):
    workdir, state, result = undisturbed
    assert int(state.step) == STEPS
    assert result.origin.startswith("variables of ") and not result.interrupted
    assert finished_steps(workdir) == [4, 6, 8]
    assert json.loads((workdir / "config.json").read_text())["experiment"]["learning_rate"]["peak"] == 1e-3

    lines = read_metrics(workdir)
    assert [line["step"] for line in lines] == [2, 4, 6, 8]
    assert [line["max_skip"] for line in lines] == [1, 1, 5, 5]
    for line in lines:
        assert line["loss"] == pytest.approx(line["loss_frame_1"], rel=1e-5)
        assert line["gradient_norm"] > 0 and line["parameter_norm"] > 0 and line["clips_per_second"] > 0
        assert 0 <= line["input_wait"] <= 1
    assert 1e-3 > lines[0]["learning_rate"] > lines[-1]["learning_rate"] > 0
    assert any((workdir / "tensorboard").iterdir())


def test_the_workdir_is_a_checkpoint_of_the_moving_average(undisturbed):
    workdir, state, _ = undisturbed
    found, config = load_checkpoint(workdir)
    assert config == MODEL
    assert_same(found["params"], state.ema)
    assert any(
        (np.asarray(a) != b).any() for a, b in zip(jax.tree.leaves(state.params), jax.tree.leaves(state.ema), strict=True)
    )


def test_a_finished_run_is_left_as_it_is(train, undisturbed):
    workdir, state, _ = undisturbed
    before = (workdir / "metrics.jsonl").read_text()
    again, result = train(workdir)
    assert_same(again, state)
    assert result.origin == f"step {STEPS} of this workdir"
    assert (workdir / "metrics.jsonl").read_text() == before


def test_sigterm_saves_and_the_run_continues(train, undisturbed, tmp_path):
    def terminated(first_step):
        for step, batch in zip(itertools.count(first_step), batches(first_step), strict=False):
            if step == 4:
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch

    before = signal.getsignal(signal.SIGTERM)
    state, result = train(tmp_path, batches=terminated)
    assert result.interrupted and int(state.step) == 5
    assert finished_steps(tmp_path)[-1] == 5
    assert signal.getsignal(signal.SIGTERM) is before
    state, result = train(tmp_path)
    assert result.origin == "step 5 of this workdir"
    assert_same(state, undisturbed[1])


def test_a_truncated_checkpoint_is_passed_over(train, undisturbed, tmp_path):
    train(tmp_path, tiny_config(STEPS), batches=lambda first: itertools.chain(itertools.islice(batches(first), 5), interrupt()))
    assert finished_steps(tmp_path)[-1] == 6
    for file in (tmp_path / "checkpoints/6/variables").rglob("*"):
        if file.is_file():
            os.truncate(file, file.stat().st_size // 2)
    with pytest.warns(UserWarning, match="the previous checkpoint is used"):
        state, result = train(tmp_path)
    assert result.origin == "step 4 of this workdir"
    assert_same(state, undisturbed[1])
    assert [line["step"] for line in read_metrics(tmp_path)] == [2, 4, 6, 8]


def interrupt():
    """Sends SIGTERM to this process, and then yields the sixth batch."""
    os.kill(os.getpid(), signal.SIGTERM)
    yield tiny_batch(5)


def test_another_config_is_rejected(train, undisturbed):
    workdir = undisturbed[0]
    config = tiny_config(STEPS)
    config.log_every, config.checkpoint.keep = 1, 5  # a resumed run may change these fields
    config.learning_rate.peak, config.dropout = 2e-3, 0.25
    with pytest.raises(ConfigError) as caught:
        train(workdir, config)
    message = str(caught.value)
    assert "dropout is 0.25, but was 0.5; learning_rate.peak is 0.002, but was 0.001. Restore these" in message
    assert f"--config.resume={workdir}" in message


def test_resume_takes_over_the_whole_state(undisturbed, tmp_path):
    config = tiny_config(STEPS + 1)
    config.resume = str(undisturbed[0])
    state, origin = starting_state(config, MODEL, make_optimization(config, STEPS)[1], tmp_path)
    assert origin.startswith(f"step {STEPS} of {undisturbed[0]}")
    assert_same(state.replace(opt_state=()), undisturbed[1].replace(opt_state=()))
    assert int(state.opt_state[0].count) == STEPS


def test_init_takes_over_the_variables_alone(undisturbed, tmp_path):
    config = tiny_config()
    config.init = str(undisturbed[0])
    state, origin = starting_state(config, MODEL, make_optimization(config, STEPS)[1], tmp_path)
    assert origin == f"variables of {undisturbed[0]}"
    assert int(state.step) == int(state.opt_state[0].count) == 0
    for params in (state.params, state.ema):
        assert_same(params, undisturbed[1].ema)


def test_an_own_checkpoint_comes_before_resume_and_init(train, undisturbed):
    config = tiny_config(STEPS)
    config.init = config.resume = "/nowhere"
    assert train(undisturbed[0], config)[1].origin == f"step {STEPS} of this workdir"


def test_a_checkpoint_is_saved_before_its_validation_which_sigterm_interrupts(train, undisturbed, tmp_path, monkeypatch):
    """A run gets SIGTERM in the validation of step 4. The next run fails in the validation of step 8.

    Both validations are repeated.
    """
    validated = []

    def validate(segmenters, plans, size, stop):
        validated.append(finished_steps(tmp_path)[-1])
        if len(validated) == 1:
            os.kill(os.getpid(), signal.SIGTERM)
            return None if stop() else pytest.fail("not asked to stop")
        if len(validated) == 3:
            raise RuntimeError("killed")
        return Validation({"jf": 0.5, "j": 0.5, "f": 0.5}, {}, None)

    monkeypatch.setattr(loop, "validate", validate)
    monkeypatch.setattr(loop, "make_segmenters", lambda *_: [])
    with tiny_config(STEPS).unlocked() as config:
        config.validation.every = 8  # 8 samples are four steps
    _, result = train(tmp_path, config, validation=[Mock(spec=Plan)])
    assert result.interrupted and validated == [4] and not is_validated(tmp_path, 4)
    with pytest.raises(RuntimeError, match="killed"):
        train(tmp_path, config, validation=[Mock(spec=Plan)])
    assert validated == [4, 4, 8] and is_validated(tmp_path, 4) and not is_validated(tmp_path, 8)
    state, result = train(tmp_path, config, validation=[Mock(spec=Plan)])
    assert validated == [4, 4, 8, 8] and is_validated(tmp_path, 8) and result.scores["jf"] == 0.5
    assert_same(state, undisturbed[1])


def test_an_error_in_a_hook_ends_the_run_which_can_be_resumed(train, undisturbed, tmp_path):
    class Broken(Hook):
        def saved(self, state):
            raise OSError("no connection")

    with pytest.raises(OSError, match="no connection"):
        train(tmp_path, hooks=[Broken()])
    state, result = train(tmp_path)
    assert result.origin == "step 2 of this workdir"
    assert_same(state, undisturbed[1])


def test_a_run_of_a_release_without_some_fields_is_resumed(train, undisturbed, tmp_path):
    shutil.copytree(undisturbed[0], tmp_path / "run")
    later = ("slots", "learning_rate.for_batch", "data.copy_paste.twins", "devices", "deterministic")
    file = tmp_path / "run/config.json"
    text = json.loads(file.read_text())
    for name in later:
        *sections, leaf = name.split(".")
        functools.reduce(dict.__getitem__, sections, text["experiment"]).pop(leaf)
    file.write_text(json.dumps(text))
    require_same_config(tmp_path / "run", tiny_config(STEPS))


def start(workdir, init, cache):
    """Starts a run in a separate process."""
    command = [sys.executable, "-m", "tests.training.tiny_run", str(workdir), str(init), str(cache), str(STEPS), "2"]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_a_killed_run_continues_to_the_same_end(train, undisturbed, tmp_path, cache):
    process = start(tmp_path, train.init, cache)
    while process.poll() is None and not finished_steps(tmp_path):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    said = process.communicate()[0]
    assert process.returncode == -signal.SIGKILL, said
    state, result = train(tmp_path)
    assert result.origin in {f"step {step} of this workdir" for step in range(2, STEPS, 2)}
    assert_same(state, undisturbed[1])
