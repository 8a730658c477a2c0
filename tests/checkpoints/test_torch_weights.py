"""Tests the conversion of names, shapes and layouts from the official checkpoint to this package, and back."""

import dataclasses
import json
from pathlib import Path

import flax
import ml_dtypes
import numpy as np
import pytest

from hmmn_jax import HMMNConfig
from hmmn_jax.checkpoints.torch_weights import from_torch, name_table, to_torch, torch_shapes, without_prefix
from hmmn_jax.errors import MismatchError
from hmmn_jax.model.hmmn import abstract_variables
from tests.small import SMALL, variables

LAYOUT = json.loads((Path(__file__).parents[1] / "golden/state_dict_layout.json").read_text())
COUNTER = "Encoder_M.bn1.num_batches_tracked"


def official(config=SMALL):
    """Returns tensors of a small model in the official format, with counters that need more than 32 bits."""
    tensors = to_torch(variables(config), config)
    return {name: np.array(2**40, np.int64) if name.endswith("tracked") else tensor for name, tensor in tensors.items()}


def assert_same(found, expected):
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape), name
        assert found[name].tobytes() == tensor.tobytes(), name


def test_names_order_and_shapes_are_those_of_the_released_checkpoint():
    assert [(name, list(shape)) for name, shape in torch_shapes(HMMNConfig()).items()] == [(n, s) for n, s, _ in LAYOUT]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"backbone": dataclasses.replace(SMALL.backbone, norm="group", norm_groups=4)},
        {"backbone": dataclasses.replace(SMALL.backbone, norm="layer")},
        {"backbone": dataclasses.replace(SMALL.backbone, norm="none")},
        {"use_topk_read": False},
        {"normalise_keys": True},
    ],
)
def test_every_variable_has_one_name(changes):
    config = SMALL.replace(**changes)
    paths = list(name_table(config).values())
    assert sorted(paths) == sorted(flax.traverse_util.flatten_dict(abstract_variables(config)))
    assert len(set(paths)) == len(paths)


def test_layouts_by_hand():
    tensors = official()
    found = from_torch(tensors, SMALL)
    kernel = tensors["KV_M_r4.Key.weight"]  # [o,i,h,w]
    assert kernel.shape == (16, 32, 3, 3)
    assert found["params"]["memory_encoder"]["key_s16"]["kernel"][2, 1, 30, 15] == kernel[15, 30, 2, 1]
    assert found["constants"]["query_encoder"]["backbone"]["normalise"]["std"].shape == (3,)
    count = found["batch_stats"]["memory_encoder"]["backbone"]["norm1"]["count"]
    assert (count.shape, count.dtype, int(count)) == ((), np.int64, 2**40)


def test_round_trip_bit_for_bit():
    tensors = official()
    tensors["Decoder.pred2.bias"] = np.array([np.nan, -0.0], np.float32)
    assert_same(to_torch(from_torch(tensors, SMALL), SMALL), tensors)


def test_counters_and_constants_as_in_the_released_checkpoint():
    tensors = to_torch(variables(), SMALL)
    dtypes = {name: dtype for name, _, dtype in LAYOUT}
    for name, tensor in tensors.items():
        assert tensor.dtype == dtypes[name], name
    assert tensors[COUNTER].shape == ()
    assert tensors["Encoder_Q.mean"].shape == (1, 3, 1, 1)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module.module.", "model.", "a.b.module._orig_mod."])
def test_a_common_prefix_and_the_order_do_not_matter(prefix, capsys):
    tensors = official()
    shuffled = {f"{prefix}{name}": tensors[name] for name in sorted(tensors, reverse=True)}
    assert_same(to_torch(from_torch(shuffled, SMALL, "w.pth"), SMALL), tensors)
    told = f"NOTE: w.pth: every tensor name begins with '{prefix}'. This prefix is removed\n"
    assert capsys.readouterr().err == ("" if prefix in ("", "module.") else told)


@pytest.mark.parametrize("names", [{"module.a"}, {"module.Decoder.bias", "Decoder.bias"}, {"module."}, {".."}, {""}])
def test_a_prefix_that_leads_nowhere_is_kept(names):
    assert set(without_prefix(dict.fromkeys(names), {"Decoder.bias", "Decoder.weight"}, "w.pth")) == names


def test_a_checkpoint_of_another_network_is_reported_in_a_few_lines():
    tensors = {f"key_encoder.conv{i}.weight": np.zeros((2, 2)) for i in range(300)}
    with pytest.raises(MismatchError) as caught:
        from_torch(tensors, SMALL, "stcn.pth")
    lines = str(caught.value).splitlines()
    count = len(torch_shapes(SMALL)) + 300
    assert (
        lines[0] == f"stcn.pth: {count} tensors do not match the model. The file contains no tensor of the model, "
        "so the file belongs to a different network"
    )
    assert len(lines) == 12 and lines[2] == "  key_encoder.conv0.weight (2, 2) is not in the model"
    assert lines[-1] == f"  ... and {count - 10} more"


@pytest.mark.parametrize("dtype", ["float16", ml_dtypes.bfloat16, "float64"])
def test_other_floats_become_float32(dtype):
    tensors = {name: tensor.astype(dtype) if tensor.dtype == np.float32 else tensor for name, tensor in official().items()}
    expected = {name: tensor.astype(np.float32) if tensor.dtype != np.int64 else tensor for name, tensor in tensors.items()}
    assert_same(to_torch(from_torch(tensors, SMALL), SMALL), expected)


def test_all_that_differs_is_listed():
    tensors = official()
    del tensors["Decoder.pred2.bias"]
    tensors["Decoder.extra.weight"] = np.zeros((1, 2), np.float32)
    tensors["Encoder_M.conv1.weight"] = np.zeros((8, 4, 7, 7), np.float32)
    with pytest.raises(MismatchError) as caught:
        from_torch(tensors, SMALL, "weights.pth")
    assert str(caught.value).splitlines() == [
        "weights.pth: 3 tensors do not match the model",
        "  Decoder.pred2.bias (2,) is missing",
        "  Decoder.extra.weight (1, 2) is not in the model",
        "  Encoder_M.conv1.weight has the shape (8, 4, 7, 7), expected (8, 3, 7, 7)",
    ]
    assert caught.value.exit_code == 2
