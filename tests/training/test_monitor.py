"""Tests that the monitor averages metrics over steps, fetches them one step late, and stops diverged runs."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hmmn_jax.errors import DivergedError
from hmmn_jax.training.metrics import read_metrics
from hmmn_jax.training.monitor import Monitor
from hmmn_jax.training.writer import Writer


def metrics(loss):
    parts = {"loss": loss, "loss_frame_1": loss / 2, "loss_frame_2": loss / 2}
    return {name: jnp.float32(value) for name, value in parts.items()} | {
        "gradient_norm": np.float32(1),
        "rate": np.float32(loss),
    }


@pytest.fixture
def monitor(tmp_path):
    with Writer(tmp_path, 0) as writer, Monitor(writer, first=0, total=10, batch=4, every=8, stop_above=9.0) as monitor:
        yield monitor


def test_means_and_last_values_of_an_interval(monitor, tmp_path):
    for step, loss in enumerate((1, 3, 5, 7), 1):
        monitor.after(step, {}, metrics(loss), max_skip=float(step))
    monitor.flush()
    first, second = read_metrics(tmp_path)
    assert (first["step"], first["loss"], first["loss_frame_1"], first["rate"], first["max_skip"]) == (2, 2, 1, 3, 2)
    assert (second["step"], second["loss"], second["rate"], second["max_skip"]) == (4, 6, 7, 4)


def test_metrics_are_fetched_one_step_late(monitor, monkeypatch):
    fetched, device_get = [], jax.device_get
    monkeypatch.setattr(jax, "device_get", lambda tree: fetched.append(float(tree["rate"])) or device_get(tree))
    for step in (1, 2, 3):
        monitor.after(step, {}, metrics(step))
        assert fetched == list(range(1, step))


def test_clips_a_second_and_waiting(monitor, tmp_path):
    with monitor.apart():
        time.sleep(0.2)
    with monitor.waiting_for_input():
        time.sleep(0.05)
    time.sleep(0.05)
    monitor.after(1, {}, metrics(1))
    monitor.after(2, {}, metrics(1))
    monitor.flush()
    (line,) = read_metrics(tmp_path)
    assert 8 / 0.2 < line["clips_per_second"] <= 8 / 0.1
    assert 0.25 < line["input_wait"] < 0.55


@pytest.mark.parametrize("name", ["loss", "gradient_norm"])
def test_a_number_that_is_none(monitor, tmp_path, name):
    batch = {"frames": np.arange(6, dtype=np.uint8), "names": np.array([b"a clip"])}
    monitor.after(1, batch, metrics(1) | {name: jnp.float32("nan")})
    with pytest.raises(DivergedError, match=rf"^step 1: {name} is nan. The batch of this step was saved as .*bad_batch_1.npz"):
        monitor.after(2, {}, metrics(1))
    with np.load(tmp_path / "bad_batch_1.npz") as saved:
        assert saved["frames"].tolist() == [0, 1, 2, 3, 4, 5] and saved["names"].tolist() == [b"a clip"]


def test_the_batch_of_an_earlier_run_stays(monitor, tmp_path):
    (tmp_path / "bad_batch_1.npz").write_text("mine")
    monitor.after(1, {}, metrics(1) | {"loss": jnp.float32("nan")})
    with pytest.raises(DivergedError, match=r"bad_batch_1-1.npz"):
        monitor.flush()
    assert (tmp_path / "bad_batch_1.npz").read_text() == "mine" and (tmp_path / "bad_batch_1-1.npz").exists()


def test_one_high_loss_is_no_divergence(monitor):
    for step, loss in enumerate((1, 16), 1):
        monitor.after(step, {}, metrics(loss))
    monitor.flush()


def test_a_high_mean_loss_is(monitor):
    for step, loss in enumerate((1, 18), 1):
        monitor.after(step, {}, metrics(loss))
    with pytest.raises(DivergedError, match=r"^step 2: the mean loss of 8 samples is 9.5, above 9"):
        monitor.flush()
