"""Tests `verify`: reading the clip, running a checkout of the published code in a process, and comparing the logits.

Most tests use a small stub with known logits instead of a checkout. If the environment variable HMMN_OFFICIAL is the path of a
checkout of the published code, `test_the_published_code_itself` compares the model with that code. The comparison takes minutes
on a CPU.
"""

import importlib.util
import json
import os
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import traverse_util
from PIL import Image
from safetensors.numpy import save_file

import convert_weights
from hmmn_jax import HMMNConfig
from hmmn_jax.checkpoints.store import METADATA_KEY, config_to_json
from hmmn_jax.checkpoints.torch_weights import from_torch, to_torch, torch_shapes
from hmmn_jax.errors import ConfigError, DataError, HMMNError
from hmmn_jax.model.layers import Compute
from tests.golden.seeded import seeded_tensor
from tests.small import SMALL, variables
from tools import verify as verify_module
from tools.verify import read_clip, run_official, verify

needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="runs PyTorch")
LAYOUT = json.loads((Path(__file__).parents[1] / "golden/state_dict_layout.json").read_text())
BIAS = (0.25, -0.5)  # biases of the last layer, for background and object

# A stub with the calling convention of the published code. It fills the memory of a frame with the frame's number, and records
# all calls.
MODEL = """
import json
import pathlib

import cv2
import matplotlib.pyplot as plt
import torch
from torch import nn
from torchvision import models

from helpers import NUDGE

HERE = pathlib.Path(__file__).parent


class HMMN(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = [models.resnet50(pretrained=True)]
        assert self.trunk[0].layer3[5].conv3.weight.shape == (1024, 256, 1, 1)
        assert plt.cm.gray is not None and cv2.INTER_LINEAR is not None  # of the packages, or of what stands in for them
        for name, shape in json.loads((HERE / "shapes.json").read_text()).items():
            *path, leaf = name.split(".")
            node = self
            for part in path:
                if part not in node._modules:
                    stem = part in ("conv1_m", "conv1_o")
                    node.add_module(part, nn.Conv2d(1, shape[0], 7, 2, 3, bias=False) if stem else nn.Module())
                node = node._modules[part]
            if leaf in ("weight", "bias"):
                node.register_parameter(leaf, nn.Parameter(torch.zeros(shape)))
            else:
                node.register_buffer(leaf, torch.zeros(shape, dtype=torch.int64 if "tracked" in leaf else None))
        self.frames, self.noted = [], []

    def forward(self, *args):
        frame, objects = args[0], int(args[-1])
        assert frame.dtype == torch.float64 and args[-1].shape == (1,) and not self.training
        if args[1].dim() == 4:
            stem = self.Encoder_M.conv1_m(args[1][:, 1:2].float())
            assert stem.dtype == torch.float64
            self.probs = args[1][0].flatten(1).mean(1).tolist()
            self.frames.append(frame[0, :, 0, 0].tolist())
            return [torch.full((objects, 1, 1, 2, 2), len(self.frames) - 1.0) for _ in range(6)]
        slots = [memory[0, 0, :, 0, 0].int().tolist() for memory in args[1:7]]
        assert slots[0] == slots[1] and slots[2] == slots[3] == slots[4] == slots[5]
        self.noted.append({"probs": self.probs, "coarse": slots[0], "fine": slots[2]})
        (HERE / "noted.json").write_text(json.dumps({"steps": self.noted, "frames": self.frames}))
        background, foreground = self.Decoder.pred2.bias
        p = torch.sigmoid(foreground - background).expand(objects, *frame.shape[2:])
        p = torch.cat([(1 - p).prod(0, keepdim=True), p])
        return torch.log(p / (1 - p))[None] + NUDGE * len(self.noted)
"""


def by_hand(objects):
    """Returns the logits of background and objects for a model whose weights are 0, except the bias of the last layer."""
    p = 1 / (1 + np.exp(BIAS[0] - BIAS[1]))
    probs = np.array([(1 - p) ** objects, *[p] * objects])
    return np.log(probs / (1 - probs))


def zero_variables():
    """Returns variables of the small model whose weights are 0, except the bias of the last layer."""
    flat = traverse_util.flatten_dict(variables())
    flat = {path: leaf if path[-1] in ("var", "mean", "std", "count") else np.zeros_like(leaf) for path, leaf in flat.items()}
    flat["params", "decoder", "conv_predict", "bias"] = np.array(BIAS, np.float32)
    return traverse_util.unflatten_dict(flat)


def make_checkout(path, nudge=0.0, model=MODEL):
    path.mkdir()
    (path / "model.py").write_text(model)
    (path / "helpers.py").write_text(f"NUDGE = {nudge}\n")
    (path / "shapes.json").write_text(json.dumps(torch_shapes(SMALL)))
    return path


@pytest.fixture
def inputs(tmp_path):
    """Writes three frames of 64x48 pixels and a mask with objects 3 and 7. Returns the paths for `--frames` and `--mask`."""
    rng = np.random.default_rng(0)
    (tmp_path / "frames").mkdir()
    for i in (9, 10, 11):  # natural order, in which 9 comes before 10
        Image.fromarray(rng.integers(0, 256, (48, 64, 3), np.uint8)).save(tmp_path / "frames" / f"{i}.png")
    mask = np.zeros((48, 64), np.uint8)
    mask[10:30, 5:25], mask[20:40, 30:60] = 7, 3
    Image.fromarray(mask).save(tmp_path / "mask.png")
    return tmp_path / "frames", tmp_path / "mask.png"


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "zero.safetensors"
    save_file(to_torch(zero_variables(), SMALL), path, {METADATA_KEY: config_to_json(SMALL)})
    return path


def command(official, checkpoint, inputs, *more):
    frames, mask = inputs
    options = {"--official": official, "--checkpoint": checkpoint, "--frames": frames, "--mask": mask, "--size": 48}
    return convert_weights.main(["verify", *(str(part) for pair in options.items() for part in pair), *more])


def test_the_clip_keeps_its_aspect_and_numbers_its_objects(inputs):
    names, frames, ids = read_clip(*inputs, 2, 24)
    assert names == ["9", "10"]
    assert (frames.shape, frames.dtype, ids.shape, ids.dtype) == ((2, 24, 32, 3), np.uint8, (24, 32), np.uint8)
    assert np.unique(ids).tolist() == [0, 1, 2]
    assert ids[15, 20] == 1 and ids[7, 5] == 2  # id 3 becomes 1, and id 7 becomes 2


def test_a_clip_of_the_size_requested_is_left_as_it_is(inputs):
    _, frames, ids = read_clip(*inputs, 3, 48)
    for frame, name in zip(frames, (9, 10, 11), strict=True):
        np.testing.assert_array_equal(frame, np.asarray(Image.open(inputs[0] / f"{name}.png")))
    np.testing.assert_array_equal(np.array([0, 3, 7])[ids], np.asarray(Image.open(inputs[1])))


def test_clips_that_cannot_be_used(inputs, tmp_path):
    frames, mask = inputs
    for arguments, told in (((1, 48), "max_frames is 1, expected 2"), ((3, 8), "size is 8, expected 16")):
        with pytest.raises(HMMNError, match=told):
            read_clip(frames, mask, *arguments)
    with pytest.raises(ConfigError, match="order"):
        read_clip(frames, mask, 3, 48, "backwards")
    assert read_clip(frames, mask, 3, 48, "name")[0] == ["10", "11", "9"]
    Image.fromarray(np.zeros((48, 64), np.uint8)).save(tmp_path / "empty.png")
    with pytest.raises(DataError, match="no object"):
        read_clip(frames, tmp_path / "empty.png", 3, 48)
    Image.fromarray(np.zeros((48, 60, 3), np.uint8)).save(frames / "10.png")
    with pytest.raises(DataError, match=r"10\.png: the frame has 60x48 pixels, but 9\.png has 64x48"):
        read_clip(frames, mask, 3, 48)
    for name in ("10.png", "11.png"):
        (frames / name).unlink()
    with pytest.raises(DataError, match="a single frame"):
        read_clip(frames, mask, 3, 48)


@needs_torch
def test_the_calling_convention(tmp_path):
    checkout = make_checkout(tmp_path / "official", nudge=2.0)
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (9, 20, 30, 3), np.uint8)
    mask = np.repeat(np.array([[0, 1, 2, 2, 0]], np.uint8), 20, axis=0).repeat(6, axis=1)
    logits = run_official(checkout, to_torch(zero_variables(), SMALL), frames, mask)
    assert (logits.shape, logits.dtype) == ((8, 3, 20, 30), np.float64)
    expected = by_hand(2) + 2.0 * np.arange(1, 9)[:, None]
    np.testing.assert_allclose(logits, np.broadcast_to(expected[:, :, None, None], logits.shape), rtol=0, atol=1e-12)

    noted = json.loads((checkout / "noted.json").read_text())
    # For each step, the frames in memory other than the first and the previous frame. Every fifth frame is kept.
    middle = [[], [], [], [], [], [], [5], [5]]
    for t, step in enumerate(noted["steps"]):
        assert step["coarse"] == sorted({0, *middle[t], t})
        assert step["fine"] == sorted({0, t})
        probs = np.exp(by_hand(2)) / np.exp(by_hand(2)).sum() if t else [0.4, 0.2, 0.4]
        np.testing.assert_allclose(step["probs"], probs, rtol=0, atol=1e-12)
    divided = frames[:8, 0, 0].astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(noted["frames"], divided.astype(np.float64))
    assert sorted(path.name for path in checkout.iterdir()) == ["helpers.py", "model.py", "noted.json", "shapes.json"]


@needs_torch
def test_agreement(tmp_path, checkpoint, inputs, capsys):
    checkout = make_checkout(tmp_path / "official")
    assert command(checkout, checkpoint, inputs) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "largest |logit difference|  frame"
    assert [line.split()[1] for line in lines[1:-1]] == ["10", "11"]
    assert all(float(line.split()[0]) <= 1e-12 for line in lines[1:-1])
    assert lines[-1] == f"The logits agree with {checkout} at a tolerance of 2.0e-06. Both models compute in float64."


@needs_torch
def test_disagreement(tmp_path, checkpoint, inputs, capsys):
    checkout = make_checkout(tmp_path / "official", nudge=1e-3)
    assert command(checkout, checkpoint, inputs) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[1:-1]] == [["1.000e-03", "10"], ["2.000e-03", "11"]]
    assert lines[-1].startswith("The logits DISAGREE with ")
    assert command(checkout, checkpoint, inputs, "--tolerance", "1.1e-3", "--max-frames", "2") == 0


@needs_torch
def test_not_a_number_is_no_agreement(tmp_path, checkpoint, inputs, capsys):
    checkout = make_checkout(tmp_path / "official", nudge="float('nan')")
    assert command(checkout, checkpoint, inputs) == 1
    assert capsys.readouterr().out.splitlines()[1].split() == ["nan", "10"]


@pytest.mark.slow
@needs_torch
@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda checkout: (checkout / "model.py").unlink(), "the folder contains no model.py"),
        (lambda checkout: (checkout / "model.py").write_text("class STM: pass"), "model.py contains no class HMMN"),
        (lambda checkout: (checkout / "model.py").write_text("import nonesuch"), "No module named 'nonesuch'"),
        (
            lambda checkout: (checkout / "model.py").write_text("raise SystemExit(0)"),
            "the process printed no message and returned exit code 0",
        ),
        (
            lambda checkout: (checkout / "shapes.json").write_text(json.dumps({"Decoder.pred2.bias": [5]})),
            "size mismatch for Decoder.pred2.bias",
        ),
        (
            lambda checkout: (checkout / "model.py").write_text(MODEL.replace("expand(objects,", "expand(objects + 1,")),
            "logits of shape (2, 4, 48, 64), expected [T-1,K+1,H,W] = (2, 3, 48, 64)",
        ),
    ],
)
def test_a_checkout_that_fails_is_reported_in_one_line(tmp_path, checkpoint, inputs, capsys, change, told):
    checkout = make_checkout(tmp_path / "official")
    change(checkout)
    assert command(checkout, checkpoint, inputs) == 2
    out, err = capsys.readouterr()
    (line,) = [line for line in err.splitlines() if not line.startswith("NOTE: ")]
    assert out == "" and str(checkout) in line and told in line


def test_without_torch_it_says_what_to_install(tmp_path, checkpoint, inputs, capsys, monkeypatch):
    monkeypatch.setattr(verify_module.importlib.util, "find_spec", lambda name: None)
    assert command(tmp_path, checkpoint, inputs) == 2
    assert "pip install torch" in capsys.readouterr().err


@needs_torch
@pytest.mark.parametrize("torchvision", ["present", "broken"])
def test_stand_ins_only_where_they_are_needed(tmp_path, monkeypatch, torchvision):
    libraries = tmp_path / "libraries"
    (libraries / "torchvision" / "models").mkdir(parents=True)
    (libraries / "torchvision" / "__init__.py").write_text("" if torchvision == "present" else "raise RuntimeError('nms')")
    (libraries / "torchvision" / "transforms.py").write_text("")
    (libraries / "torchvision" / "models" / "__init__.py").write_text(
        "def resnet50(weights=None, **more):\n    assert weights is None and not more, 'download'\n    return 'real'\n"
    )
    (libraries / "cv2.py").write_text("raise ImportError('libGL.so.1')")
    (libraries / "matplotlib.py").write_text("raise ImportError('not for this Python')")
    monkeypatch.setenv("PYTHONPATH", str(libraries))
    expected = "== 'real'" if torchvision == "present" else ".layer1[0].downsample is not None"
    model = f"""
import cv2
import torch
from matplotlib import pyplot as plt
from torchvision import models, transforms
assert plt.imshow(cv2.resize(1, dsize=(2, 2)), cmap=plt.cm.gray) is not None
for arguments in ({{}}, {{"pretrained": True}}, {{"weights": "IMAGENET1K_V1"}}):
    assert models.resnet50(**arguments) {expected}
raise SystemExit("as expected")
"""
    checkout = make_checkout(tmp_path / "official", model=model)
    with pytest.raises(HMMNError, match=r"cannot be run: as expected$"):
        run_official(checkout, {}, np.zeros((2, 16, 16, 3), np.uint8), np.zeros((16, 16), np.uint8))


@needs_torch
def test_the_stand_in_resnet_is_the_backbone(x64):
    import torch

    from tools.official_process import resnet50

    tensors = {name: seeded_tensor(name, tuple(shape)) for name, shape, _ in LAYOUT}
    names = {"res2": "layer1", "res3": "layer2", "res4": "layer3"}
    state = {}
    for name, tensor in tensors.items():
        _, part, *rest = name.split(".")
        if name.startswith("Encoder_Q.") and part not in ("mean", "std"):
            state[".".join([names.get(part, part), *rest])] = torch.from_numpy(tensor)
    net = resnet50(pretrained=True).double().eval()
    net.load_state_dict(state)

    image = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 3, 48, 32)))
    with torch.no_grad():
        stem = net.conv1(image)
        features = [net.layer1(net.maxpool(net.relu(net.bn1(stem))))]
        for layer in (net.layer2, net.layer3):
            features.append(layer(features[-1]))
    kinds = from_torch(tensors, HMMNConfig()).items()
    ours = {kind: tree["query_encoder"]["backbone"] for kind, tree in kinds if kind != "constants"}
    ours = jax.tree.map(lambda x: x.astype(np.float64), ours)
    found = jax.jit(HMMNConfig().backbone.make(Compute(), with_masks=False).apply)(ours, stem.numpy().transpose(0, 2, 3, 1))
    for ours, theirs in zip(found, features, strict=True):
        np.testing.assert_allclose(ours, theirs.numpy().transpose(0, 2, 3, 1), rtol=0, atol=1e-11)


@needs_torch
@pytest.mark.skipif("HMMN_OFFICIAL" not in os.environ, reason="HMMN_OFFICIAL names no checkout of the published code")
def test_the_published_code_itself(tmp_path, inputs):
    """Compares the logits for seeded weights and random frames. HMMN_OFFICIAL is a checkout with the published `model.py`."""
    save_file({f"module.{n}": seeded_tensor(n, tuple(shape)) for n, shape, _ in LAYOUT}, tmp_path / "w.safetensors")
    differences = verify(os.environ["HMMN_OFFICIAL"], tmp_path / "w.safetensors", *inputs, size=96)
    assert max(value for _, value in differences) <= 2e-6
