"""Tests the start of a run: initial variables, custom losses and optimizers, and errors in the config."""

import numpy as np
import optax
import pytest
from safetensors.numpy import save_file

from hmmn_jax.checkpoints import pretrained
from hmmn_jax.checkpoints.store import save_checkpoint
from hmmn_jax.checkpoints.torch_weights import torch_shapes
from hmmn_jax.errors import CheckpointError, ConfigError, DataError
from hmmn_jax.training import loop
from hmmn_jax.training.loop import make_optimization
from hmmn_jax.training.start import starting_state
from tests.small import SMALL, untyped, variables, with_backbone
from tests.training.runs import STEPS, batches
from tests.training.tiny_run import MODEL, tiny_config


def test_init_from_a_resnet(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "_random_variables", lambda config, key: variables(config))
    config = tiny_config()
    model = with_backbone(SMALL, widths=(16, 32, 64))
    rng = np.random.default_rng(0)
    tensors = {}
    for name, shape in torch_shapes(model).items():
        module, _, rest = name.partition(".")
        if module == "Encoder_Q" and rest not in ("mean", "std"):
            rest = rest.replace("res2", "layer1").replace("res3", "layer2").replace("res4", "layer3")
            tensors[rest] = rng.normal(size=shape).astype(np.float32) if shape else np.zeros((), np.int64)
    save_file(tensors, tmp_path / "resnet50.safetensors")
    config.init = str(tmp_path / "resnet50.safetensors")
    state, origin = starting_state(config, model, make_optimization(config, STEPS)[1], tmp_path)
    assert origin.startswith("both backbones from the resnet weights")
    kernel = state.params["query_encoder"]["backbone"]["res2_0"]["conv1"]["kernel"]
    np.testing.assert_array_equal(kernel, tensors["layer1.0.conv1.weight"].transpose(2, 3, 1, 0))


def test_errors_are_reported_before_anything_is_written(train, tmp_path):
    save_checkpoint(tmp_path / "other", variables(), SMALL)
    workdir = tmp_path / "run"

    def refusal(error, batches=batches, **changes):
        config = tiny_config()
        config.update_from_flattened_dict(changes)
        with untyped(), pytest.raises(error) as caught:
            train(workdir, config, batches)
        assert not workdir.exists()
        assert "\n" not in str(caught.value)
        return str(caught.value)

    def no_data(first_step):
        raise DataError("no such set")

    assert "parallel is 'pnap'" in refusal(ConfigError, parallel="pnap")
    assert "expected a multiple of 2" in refusal(ConfigError, batch=3, micro_batches=2)
    assert "expected at least one batch of 2" in refusal(ConfigError, samples=1)
    assert "HMMNConfig.window is 4" in refusal(ConfigError, **{"model.window": 4})
    assert "config.optimizer.name is 'sgd', expected one of adam, adamw" in refusal(ConfigError, **{"optimizer.name": "sgd"})
    assert "profile is '5:3'" in refusal(ConfigError, profile="5:3")
    assert "no such file or folder" in refusal(CheckpointError, init="/nowhere")
    assert "/nowhere" in refusal(CheckpointError, resume="/nowhere")
    message = refusal(CheckpointError, init=str(tmp_path / "other"))
    assert "a different model" in message and "widths is (16, 32, 32), expected (8, 8, 8)" in message
    group = with_backbone(MODEL, norm="group", norm_groups=2)  # the norm "layer" has tensors of the same shapes
    save_checkpoint(tmp_path / "group", variables(group), group)
    message = refusal(CheckpointError, init=str(tmp_path / "group"), **{"model.backbone.norm": "layer"})
    assert "a different model" in message and "norm is 'group', expected 'layer'" in message
    with pytest.MonkeyPatch.context() as patch:  # the error is raised before the compilation in `starting_state`
        patch.setattr(loop, "starting_state", None)
        assert refusal(DataError, no_data) == "no such set"


def test_an_own_loss_and_an_own_optimizer_are_used(train, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(loop, "make_step", lambda *given: seen.append(given) or pytest.fail("compiled"))
    own = optax.sgd(0.5)

    def loss(logits, masks, share):
        return logits.mean()

    with pytest.raises(pytest.fail.Exception):
        train(tmp_path, loss=loss, optimizer=lambda rate: own if rate(0) == 1e-3 else None)
    assert seen[0][2] is own and seen[0][4] is loss


def test_the_learning_rate_follows_the_batch():
    config = tiny_config(8, batch=8)
    config.learning_rate.schedule = "constant"
    assert float(make_optimization(config, 8)[0](0)) == pytest.approx(1e-3)
    config.learning_rate.for_batch = 2
    assert float(make_optimization(config, 8)[0](0)) == pytest.approx(2e-3)
