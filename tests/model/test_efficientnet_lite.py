"""Compares EfficientNet-Lite with a PyTorch version, and tests the config, initialisation and pretrained weights."""

import functools
import json

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hmmn_jax import HMMNConfig
from hmmn_jax.checkpoints.pretrained import from_pretrained, recognise
from hmmn_jax.checkpoints.torch_weights import from_torch, to_torch
from hmmn_jax.errors import MismatchError
from hmmn_jax.model.backbones import EfficientNetLite, backbone_from_dict
from hmmn_jax.model.layers import Compute
from tests.small import SMALL, untyped, with_backbone

LITE0 = EfficientNetLite()
# This network has blocks with and without expansion, with stride 1 and 2, with and without a shortcut, and with 3x3 and 5x5
# kernels.
SMALL_LITE = EfficientNetLite(
    stem_width=8, blocks=(1, 1, 1, 1, 2), widths=(8, 8, 16, 16, 24), expansions=(1, 2, 2, 2, 3), kernel_sizes=(3, 3, 5, 5, 3)
)
CONFIG = SMALL.replace(backbone=SMALL_LITE)


def draw(shapes, dtype=np.float32, seed=0):
    """Returns random tensors by name. Their scale keeps many activations between 0 and 6, the limits of ReLU6."""
    rng = np.random.default_rng(seed)
    values = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            values[name] = np.array(3)
        elif name.endswith("_conv.weight") or name.endswith(("_stem.weight", "_head.weight")):
            values[name] = rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape).astype(dtype)
        elif name.endswith((".weight", "_var")):
            values[name] = rng.uniform(0.5, 1.5, shape).astype(dtype)
        else:
            values[name] = rng.normal(0, 0.3, shape).astype(dtype)
    return values


def file_of(sizes, beyond=True):
    """Returns a dict from tensor names to shapes, as in a weights file of the PyTorch port.

    `beyond` adds another block, a head and a classifier, as in published files. The backbone does not use these layers.
    """
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


def in_pytorch(tensors, frame, strides, outputs, masks=None):
    """Computes the outputs of the blocks with the indices `outputs`, in PyTorch.

    The names in `tensors` are those of the PyTorch port. `frame` is `[b,H,W,3]` in [0, 1]. `strides` contains the stride of
    each block. `masks`, `[b,H,W,2]`, are additional input channels of the first layer.
    """
    import torch
    from torch.nn import functional

    def conv(name, x, stride=1, groups=1):
        kernel = tensors[f"{name}.weight"]
        total = max(kernel.shape[-1] - stride, 0)  # TensorFlow's "SAME", for sides that are multiples of the stride
        x = functional.pad(x, (total // 2, total - total // 2) * 2)
        return functional.conv2d(x, kernel, stride=stride, groups=groups)

    def batch_norm(name, x):
        mean, var, weight, bias = (tensors[f"{name}.{leaf}"] for leaf in ("running_mean", "running_var", "weight", "bias"))
        return functional.batch_norm(x, mean, var, weight, bias, training=False, eps=1e-3)

    x = (torch.tensor(frame) * 255 - 127) / 128
    x = torch.cat([x, torch.tensor(masks)], 3) if masks is not None else x
    x = functional.relu6(batch_norm("_bn0", conv("_conv_stem", x.permute(0, 3, 1, 2), 2)))
    found = []
    for index, stride in enumerate(strides):
        block, y = f"_blocks.{index}", x
        if f"{block}._expand_conv.weight" in tensors:
            y = functional.relu6(batch_norm(f"{block}._bn0", conv(f"{block}._expand_conv", y)))
        y = functional.relu6(batch_norm(f"{block}._bn1", conv(f"{block}._depthwise_conv", y, stride, y.shape[1])))
        y = batch_norm(f"{block}._bn2", conv(f"{block}._project_conv", y))
        x = x + y if x.shape == y.shape else y
        if index in outputs:
            found.append(x.permute(0, 2, 3, 1))
    return found


def run(module, frame, masks=None):
    stem = module.frame(frame)
    return module(stem if masks is None else stem + module.masks(masks))


@functools.partial(jax.jit, static_argnums=(0, 4))
def features(sizes, values, frame, masks=None, compute=None):
    return sizes.make(compute or Compute(), masks is not None).apply(values, frame, masks, method=run)


def variables_of(sizes, tensors, with_masks=False):
    """Converts tensors with the names of the PyTorch port to variables of a module.

    Input channels 3 and 4 of the stem's kernel become the kernels for masks.
    """
    paths = sizes.torch_names(with_masks)
    flat = {paths[name]: tensors[there] for name, there in sizes.pretrained_names().items()}
    if with_masks:
        for channel, layer in ((3, "conv_mask"), (4, "conv_others")):
            flat["params", layer, "kernel"] = tensors["_conv_stem.weight"][:, channel : channel + 1]
        flat["params", "conv_frame", "kernel"] = tensors["_conv_stem.weight"][:, :3]
    assert set(flat) == set(paths.values())
    return flax.traverse_util.unflatten_dict({path: to_hwio(tensor) for path, tensor in flat.items()})


def to_hwio(tensor):
    return tensor.transpose(2, 3, 1, 0) if tensor.ndim == 4 else tensor


def as_tensors(tensors):
    import torch

    return {name: torch.tensor(tensor, requires_grad=name.endswith((".weight", ".bias"))) for name, tensor in tensors.items()}


def small_tensors(inputs=3):
    """Returns float64 tensors of the small network. The first layer has `inputs` input channels."""
    shapes = file_of(SMALL_LITE, beyond=False)
    return draw(shapes | {"_conv_stem.weight": (SMALL_LITE.stem_width, inputs, 3, 3)}, np.float64)


def frame_of(height, width, channels=3, dtype=np.float64):
    return np.random.default_rng(height + channels).uniform(size=(2, height, width, channels)).astype(dtype)


SMALL_STRIDES, SMALL_OUTPUTS = (1, 2, 2, 2, 1, 1), (1, 2, 5)


def test_lite0_is_that_of_pytorch(x64):
    pytest.importorskip("torch")
    tensors, frame = draw(file_of(LITE0, beyond=False), np.float64), frame_of(32, 48)
    # The backbone has eleven blocks. The features are the outputs of the third, the fifth and the last block.
    expected = in_pytorch(as_tensors(tensors), frame, (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1), (2, 4, 10))
    found = features(LITE0, variables_of(LITE0, tensors), frame)
    for stride, one, other, width in zip((4, 8, 16), found, expected, (24, 40, 112), strict=True):
        assert one.shape == (2, 32 // stride, 48 // stride, width)
        assert 0.1 < np.std(one) < 100
        np.testing.assert_allclose(one, other.detach(), rtol=0, atol=1e-9)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (48, 80)])
def test_frame_and_masks_are_inputs_of_one_layer(x64, height, width):
    pytest.importorskip("torch")
    tensors, frame, masks = small_tensors(inputs=5), frame_of(height, width), frame_of(height, width, 2)
    expected = in_pytorch(as_tensors(tensors), frame, SMALL_STRIDES, SMALL_OUTPUTS, masks)
    values = variables_of(SMALL_LITE, tensors, with_masks=True)
    for found in (features(SMALL_LITE, values, frame, masks), features(*SMALL_LITE.fold(values)[::-1], frame, masks)):
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other.detach(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("remat", [False, True])
def test_its_gradients_are_those_of_pytorch(x64, remat):
    pytest.importorskip("torch")
    tensors, frame = small_tensors(), frame_of(32, 16)
    theirs = as_tensors(tensors)
    sum((x**2).mean() for x in in_pytorch(theirs, frame, SMALL_STRIDES, SMALL_OUTPUTS)).backward()
    values = variables_of(SMALL_LITE, tensors)

    def loss(params):
        found = SMALL_LITE.make(Compute(remat=remat), False).apply(values | {"params": params}, jnp.asarray(frame), method=run)
        return sum((x**2).mean() for x in found)

    gradients = flax.traverse_util.flatten_dict(jax.jit(jax.grad(loss))(values["params"]))
    paths = SMALL_LITE.torch_names(with_masks=False)
    for name, there in SMALL_LITE.pretrained_names().items():
        if paths[name][0] == "params":
            expected = to_hwio(theirs[there].grad.numpy())
            assert np.any(expected)
            np.testing.assert_allclose(gradients[paths[name][1:]], expected, rtol=1e-8, atol=1e-10)


def test_it_computes_in_the_dtype_of_the_config():
    values = jax.tree.map(np.float32, variables_of(SMALL_LITE, small_tensors()))
    frame = frame_of(32, 32, dtype=np.float32)
    exact, rounded = features(SMALL_LITE, values, frame), features(SMALL_LITE, values, frame, None, Compute("bfloat16"))
    for one, other in zip(exact, rounded, strict=True):
        assert (one.dtype, other.dtype) == (jnp.float32, jnp.bfloat16)
        assert np.std(one - other.astype(jnp.float32)) < 0.02 * np.std(one)


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_it_learns_from_nothing_with_other_norms(norm):
    sizes = EfficientNetLite(8, (1, 1, 1, 1, 1), (8, 8, 8, 8, 8), (1, 2, 2, 2, 2), norm=norm)
    frame = frame_of(32, 32, dtype=np.float32)
    values = jax.jit(functools.partial(sizes.make(Compute(), False).init, method=run))(jax.random.key(0), frame)
    assert set(values) == {"params"}
    assert sizes.fold(values) == (values, sizes)
    assert all(np.isfinite(x).all() and np.std(x) > 0.01 for x in features(sizes, values, frame))


def test_no_notice_is_taken_of_others_before_training():
    sizes = SMALL_LITE
    frame, masks = frame_of(16, 16, dtype=np.float32), frame_of(16, 16, 2, np.float32)
    values = jax.jit(functools.partial(sizes.make(Compute(), True).init, method=run))(jax.random.key(0), frame, masks)
    without_others, without_mask = (features(sizes, values, frame, masks * keep) for keep in ([1.0, 0.0], [0.0, 1.0]))
    found = features(sizes, values, frame, masks)
    np.testing.assert_array_equal(found.s16, without_others.s16)
    assert np.any(found.s16 != without_mask.s16)


def test_json():
    config = CONFIG.replace(backbone=SMALL_LITE)
    with untyped():  # JSON converts tuples to lists
        again = HMMNConfig.from_dict(json.loads(json.dumps(config.to_dict())))
    assert again == config and hash(again) == hash(config)
    assert LITE0.to_dict()["name"] == "efficientnet_lite"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"blocks": [1, 2, 2, 3]}, r"blocks is \(1, 2, 2, 3\), expected 5 positive numbers up to 50, one for each stage"),
        ({"kernel_sizes": [3, 3, 4, 3, 5]}, "kernel_sizes is .*, expected only the sizes 3, 5, 7"),
        ({"expansions": [0, 6, 6, 6, 6]}, "expansions is"),
        ({"norm": "instance"}, "norm is 'instance', expected one of batch, group, layer, none"),
        ({"norm": "group", "norm_groups": 16}, "norm_groups is 16, expected a divisor of every width, including 24"),
        ({"depth": 3}, "EfficientNetLite has no field depth"),
    ],
)
def test_invalid_values_are_reported(changes, message):
    with untyped(), pytest.raises(ValueError, match=message):
        backbone_from_dict({"name": "efficientnet_lite"} | changes)


def test_both_encoders_start_from_a_file_of_pretrained_weights():
    tensors = draw(file_of(SMALL_LITE))
    assert recognise(tensors) is EfficientNetLite
    values = from_pretrained(tensors, CONFIG, seed=1)
    official = to_torch(values, CONFIG)
    for encoder in ("Encoder_M", "Encoder_Q"):
        for name, there in (
            ("conv_frame.weight", "_conv_stem.weight"),
            ("norm_frame.running_var", "_bn0.running_var"),
            ("block_0.conv_depthwise.weight", "_blocks.0._depthwise_conv.weight"),
            ("block_3.norm_expand.bias", "_blocks.3._bn0.bias"),
            ("block_5.conv_project.weight", "_blocks.5._project_conv.weight"),
            ("block_5.norm_depthwise.num_batches_tracked", "_blocks.5._bn1.num_batches_tracked"),
        ):
            np.testing.assert_array_equal(official[f"{encoder}.{name}"], tensors[there])
    assert np.any(official["Encoder_M.conv_mask.weight"]) and not np.any(official["Encoder_M.conv_others.weight"])
    jax.tree.map(np.testing.assert_array_equal, from_torch(official, CONFIG), values)


def test_other_files_are_reported():
    squeezing = draw(file_of(SMALL_LITE)) | {"_blocks.0._se_reduce.weight": np.zeros((4, 8, 1, 1), np.float32)}
    assert recognise(squeezing) is None  # Lite networks have no squeeze-and-excitation layers
    with pytest.raises(MismatchError, match="weights of 'efficientnet_lite', but the backbone of the model is 'resnet'"):
        from_pretrained(draw(file_of(SMALL_LITE)), SMALL)
    # In the second stage, the model has two blocks, but the network in the file has only one.
    with pytest.raises(MismatchError, match=r"_blocks\.2\._bn2\.running_mean has the shape \(16,\), expected \(8,\)"):
        from_pretrained(draw(file_of(SMALL_LITE)), with_backbone(CONFIG, blocks=(1, 2, 1, 1, 1)))
