"""EfficientNet-Lite, against the network written in PyTorch, and in all that a model is used for."""

import dataclasses
import functools
import json

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import convert_weights
from hmmn_jax import HMMN, HMMNConfig, load_checkpoint
from hmmn_jax.checkpoints.pretrained import from_pretrained, recognise
from hmmn_jax.checkpoints.torch_file import write_torch_file
from hmmn_jax.checkpoints.torch_weights import from_torch, to_torch
from hmmn_jax.errors import MismatchError
from hmmn_jax.model import fold_batch_norm
from hmmn_jax.model.backbones import EfficientNetLite
from hmmn_jax.model.backbones.efficientnet_lite import relu6
from hmmn_jax.model.layers import Compute
from hmmn_jax.training.train_step import clip_loss
from tests.small import SMALL, quick_jit, rectangles, variables, video, with_backbone

LITE0 = EfficientNetLite()
# Every kind of block: with and without expansion, at stride 1 and 2, with and without a shortcut, of 3x3 and 5x5.
SMALL_LITE = EfficientNetLite(
    stem_width=8, blocks=(1, 1, 1, 1, 2), widths=(8, 8, 16, 16, 24), expansions=(1, 2, 2, 2, 3), kernel_sizes=(3, 3, 5, 5, 3)
)
CONFIG = SMALL.replace(backbone=SMALL_LITE)


def draw(shapes, dtype=np.float32, seed=0):
    """Tensors by name, of a scale that keeps activations between the bounds of ReLU6."""
    rng = np.random.default_rng(seed)
    values = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            values[name] = np.int64(3)
        elif name.endswith("_conv.weight") or name.endswith(("_stem.weight", "_head.weight")):
            values[name] = rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape).astype(dtype)
        elif name.endswith((".weight", "_var")):
            values[name] = rng.uniform(0.5, 1.5, shape).astype(dtype)
        else:
            values[name] = rng.normal(0, 0.3, shape).astype(dtype)
    return values


def file_of(sizes, beyond=True):
    """Shapes in a file of the PyTorch port for such a network; `beyond`: with a further block, head and classifier."""
    shapes = {"_conv_stem.weight": (sizes.stem_width, 3, 3, 3), **norm("_bn0", sizes.stem_width)}
    inputs, index = sizes.stem_width, 0
    stages = list(zip(sizes.blocks, sizes.widths, sizes.expansions, sizes.kernel_sizes, strict=True))
    for blocks, width, expansion, kernel_size in [*stages, *[(1, 48, 6, 5)] * beyond]:
        for _ in range(blocks):
            wide, block = inputs * expansion, f"_blocks.{index}"
            if expansion > 1:
                shapes |= {f"{block}._expand_conv.weight": (wide, inputs, 1, 1), **norm(f"{block}._bn0", wide)}
            shapes |= {f"{block}._depthwise_conv.weight": (wide, 1, kernel_size, kernel_size), **norm(f"{block}._bn1", wide)}
            shapes |= {f"{block}._project_conv.weight": (width, wide, 1, 1), **norm(f"{block}._bn2", width)}
            inputs, index = width, index + 1
    if beyond:
        shapes |= {"_conv_head.weight": (64, inputs, 1, 1), **norm("_bn1", 64), "_fc.weight": (10, 64), "_fc.bias": (10,)}
    return shapes


def norm(name, width):
    return {f"{name}.{leaf}": (width,) for leaf in ("weight", "bias", "running_mean", "running_var")} | {
        f"{name}.num_batches_tracked": ()
    }


def in_pytorch(tensors, frame, strides_of_blocks, outputs):
    """Features behind the blocks `outputs`, from tensors by the names of the port and a frame `[b,H,W,3]` in [0, 1]."""
    import torch
    from torch.nn import functional

    tensors = {name: torch.tensor(tensor) for name, tensor in tensors.items()}

    def conv(name, x, stride=1, groups=1):
        kernel = tensors[f"{name}.weight"]
        total = max(kernel.shape[-1] - stride, 0)  # "SAME" of sides that the stride divides
        x = functional.pad(x, (total // 2, total - total // 2) * 2)
        return functional.conv2d(x, kernel, stride=stride, groups=groups)

    def batch_norm(name, x):
        mean, var, weight, bias = (tensors[f"{name}.{leaf}"] for leaf in ("running_mean", "running_var", "weight", "bias"))
        return functional.batch_norm(x, mean, var, weight, bias, training=False, eps=1e-3)

    x = (torch.tensor(frame).permute(0, 3, 1, 2) * 255 - 127) / 128
    x = functional.relu6(batch_norm("_bn0", conv("_conv_stem", x, 2)))
    found = []
    for index, stride in enumerate(strides_of_blocks):
        block, y = f"_blocks.{index}", x
        if f"{block}._expand_conv.weight" in tensors:
            y = functional.relu6(batch_norm(f"{block}._bn0", conv(f"{block}._expand_conv", y)))
        y = functional.relu6(batch_norm(f"{block}._bn1", conv(f"{block}._depthwise_conv", y, stride, y.shape[1])))
        y = batch_norm(f"{block}._bn2", conv(f"{block}._project_conv", y))
        x = x + y if x.shape == y.shape else y
        if index in outputs:
            found.append(x.permute(0, 2, 3, 1).numpy())
    return found


def trunk(sizes, tensors, dtype):
    """Variables of the query encoder's module, from tensors by the names of the port."""
    paths = sizes.torch_names(with_masks=False)
    flat = {}
    for name, there in sizes.pretrained_names().items():
        tensor = tensors[there]
        flat[paths[name]] = (tensor.transpose(2, 3, 1, 0) if tensor.ndim == 4 else tensor).astype(dtype)
    return flax.traverse_util.unflatten_dict(flat)


def features(sizes, values, frame, compute=Compute()):
    def run(module, frame):
        return module(module.frame(frame))

    return sizes.make(compute, with_masks=False).apply(values, frame, method=run)


@pytest.mark.parametrize("size", [(16, 16), (48, 80)])
def test_lite0_is_that_of_pytorch(x64, size):
    pytest.importorskip("torch")
    tensors = draw(file_of(LITE0, beyond=False), np.float64)
    frame = np.random.default_rng(1).uniform(size=(2, *size, 3))
    # Strides of the eleven blocks up to stride 16; the features are what comes out of the third, the fifth and the last.
    expected = in_pytorch(tensors, frame, (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1), (2, 4, 10))
    found = quick_jit(functools.partial(features, LITE0))(trunk(LITE0, tensors, np.float64), frame)
    for stride, one, other, width in zip((4, 8, 16), found, expected, (24, 40, 112), strict=True):
        assert one.shape == (2, size[0] // stride, size[1] // stride, width)
        assert 0.1 < np.std(one) < 100
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-9)


def test_its_gradients_are_those_of_pytorch(x64):
    torch = pytest.importorskip("torch")
    ...
