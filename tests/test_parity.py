"""Compares this package with the published PyTorch code, after conversion of a checkpoint. Both compute in float64.

The golden files contain results of the published code with seeded weights (`golden/seeded.py`). Logits of segmented clips
are stored in float32.
"""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

import convert_weights
import hmmn_jax
from hmmn_jax.checkpoints.torch_weights import to_torch
from hmmn_jax.training.train_step import clip_loss
from tests.golden.seeded import seeded_tensor

GOLDEN = Path(__file__).parent / "golden"
BAR = 2e-6


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """Converts a file with the seeded checkpoint. Returns the variables, in float64, and the config."""
    folder = tmp_path_factory.mktemp("released")
    layout = json.loads((GOLDEN / "state_dict_layout.json").read_text())
    save_file({f"module.{name}": seeded_tensor(name, tuple(shape)) for name, shape, _ in layout}, folder / "w.safetensors")
    assert convert_weights.main(["from-torch", str(folder / "w.safetensors"), str(folder / "out")]) == 0
    variables, config = hmmn_jax.load_checkpoint(folder / "out")
    return jax.tree.map(lambda x: x.astype(np.float64) if x.dtype == np.float32 else x, variables), config


def load(name):
    return dict(np.load(GOLDEN / f"{name}.npz"))


def run(released, clip):
    """Runs `Segmenter.run` on uint8 frames. Returns the largest difference from the golden logits for each frame."""
    segmenter = hmmn_jax.Segmenter(*released, mem_every=int(clip["mem_every"]))
    results = segmenter.run(clip["video"], clip["labels"][0])
    return [np.abs(result.logits - golden).max() for result, golden in zip(results, clip["logits"], strict=True)]


@pytest.mark.usefixtures("optimised")
@pytest.mark.parametrize("name", ["clip_two_objects", "clip_padded_one_object"])
def test_every_frame_of_a_clip(released, x64, name):
    assert max(run(released, load(name))) <= BAR


def test_objects_that_join(released, x64):
    clip = load("clip_joining_objects")
    given = {}
    for k, t in enumerate(clip["starts"].tolist(), 1):
        given.setdefault(t, np.zeros_like(clip["labels"][0]))[clip["labels"][t] == k] = k
    segmenter = hmmn_jax.Segmenter(*released, mem_every=int(clip["mem_every"]))
    state = segmenter.init(clip["video"][0], given[0])
    for t in range(1, len(clip["video"])):
        state, result = segmenter.step(state, clip["video"][t], given.get(t))
        known = int(clip["known"][t - 1]) + 1
        assert np.abs(result.logits[:known] - clip["logits"][t - 1][:known]).max() <= BAR
        assert np.all(np.asarray(result.logits[known:]) == -np.inf)


def test_keys_and_values_of_the_padded_clip(released, x64):
    clip = load("clip_padded_one_object")
    variables, config = released
    model = hmmn_jax.HMMN(config)
    memorize = jax.jit(lambda variables, frame, probs: model.apply(variables, frame, probs, method="memorize"))
    segmenter = hmmn_jax.Segmenter(variables, config, mem_every=int(clip["mem_every"]))
    state = segmenter.init(clip["video"][0], clip["labels"][0])
    for t in (1, 2, 3):
        memory = memorize(variables, state.frame, state.probs)  # step t of the published code encodes frame t - 1 into memory
        state, _ = segmenter.step(state, clip["video"][t])
        if t == 2:
            continue
        for stride in (16, 8, 4):
            for kind in ("key", "value"):
                ours = getattr(memory, f"{kind}_s{stride}")[0, :, 0].transpose(0, 3, 1, 2)
                golden = clip[f"t{t}_{kind[0]}{stride}"]
                assert ours.shape == golden.shape
                np.testing.assert_allclose(ours, golden, rtol=0, atol=BAR)


def test_loss_logits_and_gradients_of_the_training_form(released, x64):
    clip = load("train_clip")
    variables, config = released
    constants = {name: collection for name, collection in variables.items() if name != "params"}
    objects = int(clip["labels"][0].max())
    batch = {"frames": clip["video"], "masks": clip["labels"], "valid": np.ones(objects, bool)}
    batch = {name: jnp.asarray(value)[None] for name, value in batch.items()}
    keep = jnp.asarray(clip["coins"] > 0)[None]

    @jax.jit
    def loss_and_gradients(params):
        def loss(params):
            loss, _, logits = clip_loss(config, {"params": params, **constants}, batch, keep)
            return loss, logits

        return jax.value_and_grad(loss, has_aux=True)(params)

    (loss, logits), gradients = loss_and_gradients(variables["params"])
    assert abs(loss / clip["loss"] - 1) <= 1e-9
    assert np.abs(logits[0] - clip["logits"]).max() <= BAR
    gradients = to_torch({"params": gradients, **constants}, config)
    for name, norm, projection in zip(clip["names"].tolist(), clip["grad_norm"], clip["grad_projection"], strict=True):
        gradient = gradients[name]
        direction = seeded_tensor(f"projection.{name}.x", gradient.shape)
        bar = 1e-6 * max(norm, 1e-6)
        assert abs(np.linalg.norm(gradient) - norm) <= bar, name
        assert abs((gradient * direction).sum() - projection) <= bar, name
        if f"grad/{name}" in clip:
            np.testing.assert_allclose(gradient, clip[f"grad/{name}"], rtol=0, atol=1e-6 * np.abs(gradient).max())
