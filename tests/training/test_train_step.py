"""Tests the random numbers of memory dropout ("coins"), the metrics of a step, and the number of objects in a step.

`test_parity.py` tests the loss and its gradients, and `test_parallel.py` tests steps on several devices.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hmmn_jax.errors import ConfigError
from hmmn_jax.training import train_step
from hmmn_jax.training.train_state import TrainState
from hmmn_jax.training.train_step import make_train_step, memory_coins
from tests import small
from tests.small import SMALL


def test_coins_belong_to_samples_and_not_to_places():
    samples = np.arange(64)
    coins = np.asarray(memory_coins(7, jnp.asarray(samples), 0.5))
    order = np.random.default_rng(0).permutation(64)
    np.testing.assert_array_equal(memory_coins(7, jnp.asarray(samples[order]), 0.5), coins[order])
    for sample in (0, 31):  # one sample alone, as on a separate device, and with a different dtype
        np.testing.assert_array_equal(memory_coins(7, jnp.asarray([sample], jnp.uint32), 0.5), coins[[sample]])


def test_coins_are_fair_and_independent_over_samples_frames_and_scales():
    coins = np.asarray(memory_coins(0, jnp.arange(4000), 0.3)).reshape(4000, 4)
    np.testing.assert_allclose(coins.mean(0), 0.7, atol=0.03)
    np.testing.assert_allclose(np.corrcoef(coins.T), np.eye(4), atol=0.05)
    assert abs(np.corrcoef(coins[:-1, 0], coins[1:, 0])[0, 1]) < 0.05


def test_the_seed_and_the_share_of_coins():
    samples = jnp.arange(100)
    assert (memory_coins(0, samples, 0.5) != memory_coins(1, samples, 0.5)).any()
    assert np.asarray(memory_coins(0, samples, 0.0)).all()
    assert not np.asarray(memory_coins(0, samples, 1.0)).any()


def test_the_loss_of_a_step_is_the_sum_over_frames(monkeypatch):
    """The loss of a step is averaged over clips and summed over frames. A stub with a known gradient replaces the loss."""

    def losses(config, variables, batch, keep, share, loss):
        frames = variables["params"]["w"] * jnp.arange(1.0, 3) * batch["sample"].mean()
        return frames.sum(), frames, None

    monkeypatch.setattr(train_step, "clip_loss", losses)
    step = make_train_step(SMALL, optax.sgd(0.5), optax.constant_schedule(0.5), micro_batches=2)
    state = TrainState.create({"params": {"w": jnp.float32(2)}}, optax.sgd(0.5))
    batch = {"frames": np.zeros((4, 3, 1, 1, 3), np.uint8), "sample": np.arange(4)}
    state, metrics = step(state, batch)
    found = {name: float(value) for name, value in metrics.items()}
    assert found == pytest.approx(
        {
            "loss": 9,
            "loss_frame_1": 3,
            "loss_frame_2": 6,
            "gradient_norm": 4.5,
            "parameter_norm": 0.25,
            "learning_rate": 0.5,
        }
    )
    assert int(state.step) == 1 and float(state.params["w"]) == -0.25


@pytest.mark.parametrize(
    ("objects", "slots", "expected"),
    [([1, 2], (1, 2), 2), ([1, 1], (1, 2), 1), ([3, 0], (2, 9), 5), ([0, 0], (1,), 1), ([5, 1], (2, 4), 5), ([1, 1], (), 5)],
)
def test_a_step_computes_as_many_objects_as_its_clips_have(monkeypatch, objects, slots, expected):
    def losses(config, variables, batch, keep, share, loss):
        count = variables["params"]["w"] * batch["valid"].shape[1]
        return count, count[None], None

    monkeypatch.setattr(train_step, "clip_loss", losses)
    step = make_train_step(SMALL, optax.identity(), optax.constant_schedule(0.0), slots=slots)
    state = TrainState.create({"params": {"w": jnp.float32(1)}}, optax.identity())
    valid = np.arange(5) < np.array(objects)[:, None]
    batch = {"frames": jnp.zeros((2, 3, 1, 1, 3), jnp.uint8), "sample": jnp.arange(2), "valid": jnp.asarray(valid)}
    _, metrics = step(state, batch)
    assert float(metrics["loss"]) == float(metrics["gradient_norm"]) == expected


@pytest.mark.slow
def test_fewer_slots_give_the_same_step(x64):
    frames = np.stack([small.video(2, 32, 32, seed) for seed in range(2)])
    mask = small.rectangles((1, 2), 32, 32)
    masks = np.stack([np.stack([np.roll(mask, 4 * t * i, 1) for t in range(2)]) for i in range(2)])
    batch = {"frames": frames, "masks": masks, "valid": np.array([[1, 1, 0, 0], [1, 0, 0, 0]], bool), "sample": np.arange(2)}
    found = []
    for slots in ((), (1, 2)):
        step = jax.jit(make_train_step(small.TINY, optax.sgd(0.1), optax.constant_schedule(0.1), slots=slots))
        found.append(step(TrainState.create(small.variables(small.TINY, "float64"), optax.sgd(0.1)), batch))
    for (path, one), other in zip(jax.tree.leaves_with_path(found[0]), jax.tree.leaves(found[1]), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12, err_msg=jax.tree_util.keystr(path))


def test_a_batch_that_cannot_be_cut_is_reported():
    step = make_train_step(SMALL, optax.identity(), optax.constant_schedule(0.0), micro_batches=2)
    with pytest.raises(ConfigError, match="3 clips cannot be split into 2"):
        step(TrainState(jnp.int32(0), {}, {}, ()), {"sample": np.arange(3)})
