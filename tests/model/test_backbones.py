"""Tests that a model with a backbone defined in this file can be trained, used for segmentation, folded and converted."""

import dataclasses

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from safetensors.numpy import load_file

import convert_weights
from hmmn_jax import HMMN, HMMNConfig, Segmenter, load_checkpoint
from hmmn_jax.checkpoints.pretrained import from_pretrained
from hmmn_jax.checkpoints.store import save_checkpoint
from hmmn_jax.errors import MismatchError
from hmmn_jax.model import fold_batch_norm
from hmmn_jax.model.backbones import Backbone, BackboneModule, Features, register
from hmmn_jax.model.folding import fold_norms
from hmmn_jax.model.layers import Compute, Conv, FrozenBatchNorm, Kernel
from hmmn_jax.ops.conv2d import conv2d
from hmmn_jax.training.train_state import TrainState
from hmmn_jax.training.train_step import make_train_step
from tests.checkpoints.test_pretrained import resnet
from tests.small import SMALL, rectangles, variables, video


@register("toy")
@dataclasses.dataclass(frozen=True)
class Toy(Backbone):
    """A small backbone: a 5x5 convolution to stride 4, and 3x3 convolutions to strides 8 (with BatchNorm) and 16."""

    width: int = 6
    folded: bool = False

    def make(self, compute: Compute, with_masks: bool, name: str | None = None) -> "ToyModule":
        return ToyModule(self, compute, with_masks, name=name)

    @property
    def has_norm(self) -> bool:
        return not self.folded

    def fold(self, variables):
        if self.folded:
            return variables, self
        return fold_norms(variables, {("bn",): [("to_s8",)]}, epsilon=1e-3), dataclasses.replace(self, folded=True)


class ToyModule(BackboneModule):
    sizes: Toy
    compute: Compute
    with_masks: bool

    def setup(self):
        width, folded = self.sizes.width, self.sizes.folded
        self.of_frame = Conv(width, self.compute, 5, 4)
        if self.with_masks:
            self.of_masks = Kernel((5, 5, 2, width))
        self.to_s8 = Conv(width, self.compute, 3, 2, use_bias=folded)
        if not folded:
            self.bn = FrozenBatchNorm(1e-3)
        self.to_s16 = Conv(2 * width, self.compute, 3, 2)

    def frame(self, frame):
        return self.of_frame(frame - 0.5)

    def masks(self, masks):
        return conv2d(masks, self.of_masks(), 4)

    def __call__(self, stem):
        s4 = nn.relu(stem)
        s8 = self.to_s8(s4)
        s8 = nn.relu(s8 if self.sizes.folded else self.bn(s8))
        return Features(s4, s8, self.to_s16(s8))


CONFIG = SMALL.replace(backbone=Toy())
FRAMES, MASK = video(4, 48, 64), rectangles((1, 2), 48, 64)


def masks_of(variables, config):
    return [np.asarray(result.probs) for result in Segmenter(variables, config, winograd=False).run(FRAMES, MASK)]


def test_json():
    assert CONFIG.to_dict()["backbone"] == {"name": "toy", "width": 6, "folded": False}
    assert HMMNConfig.from_dict(CONFIG.to_dict()) == CONFIG


def test_it_trains():
    state = TrainState.create(variables(CONFIG), optax.sgd(0.01), False)
    step = jax.jit(make_train_step(CONFIG, optax.sgd(0.01), optax.constant_schedule(0.01)))
    masks = np.stack([MASK, np.roll(MASK, 2, 1)])
    batch = {"frames": FRAMES[None, :2], "masks": masks[None], "valid": np.ones((1, 2), bool), "sample": np.arange(1)}
    losses = []
    for _ in range(3):
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"]))
    assert losses[2] < losses[0]
    before, after = (flax.traverse_util.flatten_dict(tree) for tree in (variables(CONFIG)["params"], state.params))
    moved = {path[2] for path in before if path[1] == "backbone" and not np.array_equal(before[path], after[path])}
    assert moved == {"of_frame", "of_masks", "to_s8", "bn", "to_s16"}


def test_it_segments_and_folds():
    folded, config = fold_batch_norm(variables(CONFIG), CONFIG)
    assert config == CONFIG.replace(backbone=Toy(folded=True)) and "batch_stats" not in folded
    assert jax.tree.structure(folded) == jax.tree.structure(variables(config))
    frame, probs = jnp.asarray(FRAMES[:1]), jnp.asarray(np.stack([k == MASK for k in (0, 1, 2)])[None], jnp.float32)
    memorize = jax.jit(lambda config, values: HMMN(config).apply(values, frame, probs, method="memorize"), static_argnums=0)
    found = memorize(CONFIG, variables(CONFIG)), memorize(config, folded)
    for one, other in zip(*map(jax.tree.leaves, found), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    results = masks_of(variables(CONFIG), CONFIG)
    assert len(results) == 3 and all(result.shape == (3, 48, 64) and np.ptp(result) > 0.01 for result in results)


def test_it_goes_to_torch_and_back(tmp_path):
    save_checkpoint(tmp_path / "OUT", variables(CONFIG), CONFIG)
    assert convert_weights.main(["to-torch", str(tmp_path / "OUT"), str(tmp_path / "toy.safetensors")]) == 0
    tensors = load_file(tmp_path / "toy.safetensors")
    assert tensors["Encoder_M.of_masks.weight"].shape == (6, 2, 5, 5)
    assert tensors["Encoder_Q.bn.running_var"].shape == (6,)
    assert convert_weights.main(["from-torch", str(tmp_path / "toy.safetensors"), str(tmp_path / "AGAIN")]) == 0
    again, config = load_checkpoint(tmp_path / "AGAIN")
    assert config == CONFIG
    jax.tree.map(np.testing.assert_array_equal, again, jax.tree.map(np.asarray, variables(CONFIG)))


def test_weights_of_another_network_are_rejected(tmp_path, capsys):

    with pytest.raises(MismatchError, match="weights of 'resnet', but the backbone of the model is 'toy'"):
        from_pretrained(resnet(), CONFIG)
