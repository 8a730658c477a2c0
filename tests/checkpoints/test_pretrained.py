"""Tests the conversion of a torchvision ResNet to initial weights."""

import functools

import jax
import numpy as np
import pytest

from hmmn_jax.checkpoints.pretrained import from_pretrained
from hmmn_jax.checkpoints.torch_weights import to_torch
from hmmn_jax.errors import MismatchError
from tests.small import SMALL

NORM = ("weight", "bias", "running_mean", "running_var")


@functools.cache
def resnet():
    """Returns tensors of a ResNet with the names of torchvision and the widths of `SMALL`. `num_batches_tracked` is missing."""
    rng = np.random.default_rng(0)
    shapes = {"conv1.weight": (8, 3, 7, 7), "fc.weight": (10, 64), "fc.bias": (10,)}
    shapes |= {f"bn1.{leaf}": (8,) for leaf in NORM}
    inputs = 8
    for layer, width in ((1, 16), (2, 32), (3, 32), (4, 64)):
        block, inner = f"layer{layer}.0", width // 4
        convs = {"conv1": (inner, inputs, 1, 1), "conv2": (inner, inner, 3, 3), "conv3": (width, inner, 1, 1)}
        shapes |= {f"{block}.{conv}.weight": shape for conv, shape in convs.items()}
        shapes |= {f"{block}.bn{i}.{leaf}": (width if i == 3 else inner,) for i in (1, 2, 3) for leaf in NORM}
        shapes |= {f"{block}.downsample.0.weight": (width, inputs, 1, 1)}
        shapes |= {f"{block}.downsample.1.{leaf}": (width,) for leaf in NORM}
        inputs = width
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def test_both_backbones_are_the_resnet():
    found = to_torch(from_pretrained(resnet(), SMALL), SMALL)
    source = {"conv1.weight": "conv1.weight", "bn1.running_var": "bn1.running_var"}
    source |= {"res2.0.conv2.weight": "layer1.0.conv2.weight", "res3.0.bn3.bias": "layer2.0.bn3.bias"}
    source |= {"res4.0.downsample.0.weight": "layer3.0.downsample.0.weight", "res4.0.bn1.weight": "layer3.0.bn1.weight"}
    for encoder in ("Encoder_M", "Encoder_Q"):
        for name, there in source.items():
            np.testing.assert_array_equal(found[f"{encoder}.{name}"], resnet()[there])
        taken = [name for name in found if name.startswith(f"{encoder}.") and found[name].dtype == np.float32]
        taken = [name for name in taken if name.split(".")[1] not in ("mean", "std", "conv1_m", "conv1_o")]
        trunk = [array for name, array in resnet().items() if not name.startswith(("layer4", "fc"))]
        assert sum(found[name].sum(dtype=np.float64) for name in taken) == pytest.approx(
            sum(a.sum(dtype=np.float64) for a in trunk)
        )


def test_types_are_those_of_a_converted_checkpoint():
    found = from_pretrained(resnet(), SMALL)
    assert {type(leaf) for leaf in jax.tree.leaves(found)} == {np.ndarray}
    assert {str(leaf.dtype) for leaf in jax.tree.leaves({k: found[k] for k in ("params", "constants")})} == {"float32"}
    assert found["batch_stats"]["query_encoder"]["backbone"]["norm1"]["count"].dtype == np.int64


def test_counters_are_taken_where_they_are_there():
    tensors = {f"module.{name}": tensor for name, tensor in resnet().items()}
    tensors["module.layer2.0.bn2.num_batches_tracked"] = np.array(7, np.int64)
    found = to_torch(from_pretrained(tensors, SMALL), SMALL)
    counters = {name: int(tensor) for name, tensor in found.items() if name.endswith("num_batches_tracked")}
    assert {name for name, count in counters.items() if count == 7} == {
        "Encoder_M.res3.0.bn2.num_batches_tracked",
        "Encoder_Q.res3.0.bn2.num_batches_tracked",
    }
    assert set(counters.values()) == {0, 7}


def test_new_layers_follow_the_seed():
    one, again, other = (to_torch(from_pretrained(resnet(), SMALL, seed), SMALL) for seed in (1, 1, 2))
    differ = {name for name in one if not np.array_equal(one[name], other[name])}
    new = {name for name in one if name.startswith(("KV_", "Decoder", "Encoder_M.conv1_"))}
    # Some parameters start at 0: biases, the stem convolution for the mask of the other objects (conv1_o), and the last
    # convolution of each residual branch in the decoder (conv2).
    assert differ == {name for name in new if name.endswith("weight") and not name.endswith(("conv1_o.weight", "conv2.weight"))}
    assert all(np.any(one[name]) == (name in differ) for name in new)
    assert all(np.array_equal(one[name], again[name]) for name in one)


def test_what_is_not_such_a_resnet_is_listed():
    tensors = dict(resnet())
    del tensors["bn1.running_mean"]
    tensors["layer1.0.conv1.weight"] = np.zeros((4, 8, 3, 3), np.float32)
    tensors["layer3.1.conv1.weight"] = np.zeros((8, 32, 1, 1), np.float32)  # a second block, which only a deeper network has
    with pytest.raises(MismatchError) as caught:
        from_pretrained(tensors, SMALL, source="resnet.pth")
    assert str(caught.value).splitlines() == [
        "resnet.pth: 3 tensors do not match the model",
        "  bn1.running_mean (8,) is missing",
        "  layer3.1.conv1.weight (8, 32, 1, 1) is not in the model",
        "  layer1.0.conv1.weight has the shape (4, 8, 3, 3), expected (4, 8, 1, 1)",
    ]
