"""Tests the command line of the converter: the files it writes, the printed output and the error messages."""

import errno
import functools
import json
import pickle
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import jax
import ml_dtypes
import numpy as np
import orbax.checkpoint as ocp
import pytest
from safetensors.numpy import load_file, save_file

import convert_weights
from hmmn_jax import load_checkpoint
from hmmn_jax.checkpoints.store import METADATA_KEY, config_to_json
from hmmn_jax.checkpoints.torch_file import read_torch_file, write_torch_file
from hmmn_jax.checkpoints.torch_weights import to_torch
from hmmn_jax.cli import convert
from tests.checkpoints.test_pretrained import resnet
from tests.golden.seeded import seeded_tensor
from tests.model.test_efficientnet_lite import CONFIG as LITE
from tests.model.test_efficientnet_lite import draw, file_of
from tests.small import SMALL, variables

ROOT = Path(convert_weights.__file__).parent
GOLDEN = Path(__file__).parent / "golden"
METADATA = {METADATA_KEY: config_to_json(SMALL)}
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


@functools.cache
def small_tensors():
    return to_torch(variables(), SMALL)


@pytest.fixture
def small_file(tmp_path):
    """Writes the tensors of the small model, with official names, and its config to a file. Returns the path."""
    path = tmp_path / "small.safetensors"
    save_file(small_tensors(), path, METADATA)
    return path


def run(*arguments):
    return convert_weights.main([str(argument) for argument in arguments])


def failure(capsys, code, *arguments):
    """Runs a command that must fail with exit code `code` and print nothing but an error message. Returns the message."""
    assert run(*arguments) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("convert_weights.py: ")
    assert err.count("\n") == 1 or err.count("\n  ") == err.count("\n") - 1, err
    return err.removeprefix("convert_weights.py: ").rstrip()


def assert_same(found, expected):
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape), name
        assert found[name].tobytes() == tensor.tobytes(), name


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """Converts seeded tensors with the names and shapes of the released weights. Returns the tensors and the output folder."""
    folder = tmp_path_factory.mktemp("released")
    layout = json.loads((GOLDEN / "state_dict_layout.json").read_text())
    tensors = {f"module.{name}": seeded_tensor(name, tuple(shape)) for name, shape, _ in layout}
    save_file(tensors, folder / "HMMN_weights.safetensors")
    assert run("from-torch", folder / "HMMN_weights.safetensors", folder / "OUT") == 0
    return tensors, folder / "OUT"


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_the_released_model_round_trip_bit_for_bit(released, tmp_path, capsys, suffix):
    if suffix == ".pth":
        pytest.importorskip("torch")
    tensors, out = released
    back, again = tmp_path / f"back{suffix}", tmp_path / f"again{suffix}"
    assert run("to-torch", out, back) == 0
    assert capsys.readouterr().out == f"{out} -> {back}: 572 tensors, 42,760,194 parameters, 171,286,248 bytes\n"
    found = read_torch_file(back)
    assert_same(found, {name.removeprefix("module."): tensor for name, tensor in tensors.items()})
    assert found["Encoder_M.bn1.num_batches_tracked"].shape == ()
    assert found["Encoder_Q.std"].shape == (1, 3, 1, 1)
    if suffix == ".pth":  # safetensors files do not keep the order of the tensors
        assert [f"module.{name}" for name in found] == list(tensors)
    else:
        assert run("from-torch", back, tmp_path / "OUT") == 0
        assert run("to-torch", tmp_path / "OUT", again) == 0
        assert again.read_bytes() == back.read_bytes()


def test_the_config_goes_along(small_file, tmp_path):
    assert run("from-torch", small_file, tmp_path / "OUT") == 0
    found, config = load_checkpoint(tmp_path / "OUT")
    assert config == SMALL
    assert all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(variables()), strict=True))
    assert run("to-torch", tmp_path / "OUT", tmp_path / "back.safetensors") == 0
    assert_same(load_file(tmp_path / "back.safetensors"), small_tensors())
    assert load_checkpoint(tmp_path / "back.safetensors")[1] == SMALL


def test_written_in_half_the_size(tmp_path, small_file):
    assert run("to-torch", "--half", small_file, tmp_path / "half.safetensors") == 0
    halves = load_file(tmp_path / "half.safetensors")
    for name, tensor in small_tensors().items():
        counter = tensor.dtype == np.int64
        assert halves[name].dtype == (np.int64 if counter else np.float16)
        np.testing.assert_array_equal(halves[name], tensor if counter else tensor.astype(np.float16))
    found, config = load_checkpoint(tmp_path / "half.safetensors")
    assert config == SMALL
    kernel = found["params"]["decoder"]["conv_predict"]["kernel"]
    assert kernel.dtype == np.float32
    np.testing.assert_array_equal(kernel, halves["Decoder.pred2.weight"].transpose(2, 3, 1, 0))


def test_what_float16_cannot_hold_is_reported(tmp_path, capsys):
    large = small_tensors() | {"Decoder.pred2.bias": np.array([1.0, -7e4], np.float32)}
    save_file(large, tmp_path / "large.safetensors", METADATA)
    told = failure(capsys, 2, "to-torch", "--half", tmp_path / "large.safetensors", tmp_path / "half.safetensors")
    assert told == "Decoder.pred2.bias: 7e+04 is too large for float16. The maximum is 65504"
    assert not (tmp_path / "half.safetensors").exists()


@pytest.mark.parametrize("dtype", ["float16", ml_dtypes.bfloat16])
def test_a_file_of_half_the_size(tmp_path, dtype):
    halves = {name: tensor.astype(dtype) if tensor.dtype == np.float32 else tensor for name, tensor in small_tensors().items()}
    save_file({f"module.{name}": tensor for name, tensor in halves.items()}, tmp_path / "half.safetensors", METADATA)
    assert run("from-torch", tmp_path / "half.safetensors", tmp_path / "OUT") == 0
    found = to_torch(*load_checkpoint(tmp_path / "OUT"))
    assert_same(found, {n: t.astype(np.float32) if t.dtype != np.int64 else t for n, t in halves.items()})


@pytest.mark.parametrize("form", ["safetensors", "zip", "older"])
def test_imagenet(tmp_path, capsys, monkeypatch, form):
    monkeypatch.setattr(convert, "HMMNConfig", lambda backbone: SMALL)
    path = tmp_path / "resnet50.pth"
    if form == "safetensors":
        save_file(resnet(), path)
    else:
        torch = pytest.importorskip("torch")
        tensors = {name: torch.from_numpy(tensor) for name, tensor in resnet().items()}
        torch.save(tensors, path, _use_new_zipfile_serialization=form == "zip")
    assert run("imagenet", path, tmp_path / "OUT", "--seed", 3) == 0
    assert capsys.readouterr().out.endswith(". The layers outside the backbones were initialised with seed 3.\n")
    found = to_torch(*load_checkpoint(tmp_path / "OUT"))
    np.testing.assert_array_equal(found["Encoder_M.res4.0.conv2.weight"], resnet()["layer3.0.conv2.weight"])


def test_imagenet_for_another_model(tmp_path, capsys):
    """`--config` is a folder with the config of the new model. The backbone of this model must match the ImageNet weights."""
    (tmp_path / "like").mkdir()
    (tmp_path / "like" / "config.json").write_text(config_to_json(LITE))
    save_file(draw(file_of(LITE.backbone)), tmp_path / "lite.safetensors")
    assert run("imagenet", tmp_path / "lite.safetensors", tmp_path / "OUT", "--config", tmp_path / "like") == 0
    found, config = load_checkpoint(tmp_path / "OUT")
    assert config == LITE
    np.testing.assert_array_equal(
        to_torch(found, config)["Encoder_Q.block_5.conv_depthwise.weight"],
        draw(file_of(LITE.backbone))["_blocks.5._depthwise_conv.weight"],
    )
    capsys.readouterr()
    save_file(resnet(), tmp_path / "resnet.safetensors")
    message = failure(capsys, 2, "imagenet", tmp_path / "resnet.safetensors", tmp_path / "MORE", "--config", tmp_path / "like")
    assert message.endswith("weights of 'resnet', but the backbone of the model is 'efficientnet_lite'")


def test_inspect(tmp_path, capsys):
    tensors = {"a.weight": np.zeros((2, 3), np.float32), "a.bias": np.zeros(2, np.float16), "n": np.zeros((), np.int64)}
    save_file(tensors, tmp_path / "w.safetensors")
    assert run("inspect", tmp_path / "w.safetensors") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert sorted(lines[:-1]) == [["a.bias", "2", "float16"], ["a.weight", "2x3", "float32"], ["n", "-", "int64"]]
    assert " ".join(lines[-1]) == "3 tensors, 8 parameters, 36 bytes"


def test_inspect_of_a_folder_gives_official_names(small_file, tmp_path, capsys):
    assert run("from-torch", small_file, tmp_path / "OUT") == 0
    capsys.readouterr()
    assert run("inspect", tmp_path / "OUT") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:-1]] == list(small_tensors())
    assert lines[2].split() == ["Encoder_M.conv1_m.weight", "8x1x7x7", "float32"]


class Hostile:
    """An object that creates the file `target` when it is unpickled."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return open, (str(self.target), "w")


def write_hostile(path, form, content):
    if form == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", content)
            archive.writestr("archive/version", "3\n")
    else:
        head = [LEGACY_MAGIC, 1001, {"little_endian": True}] if form == "older" else []
        path.write_bytes(b"".join(pickle.dumps(part, 2) for part in head) + content)


@pytest.mark.parametrize("form", ["zip", "older", "bare"])
def test_a_malicious_file_makes_no_file(tmp_path, capsys, form):
    target, path = tmp_path / "made", tmp_path / "hostile.pth"
    pickle.loads(pickle.dumps(Hostile(target), 2)).close()
    assert target.exists()  # unpickling creates the file, so the test can detect unpickling
    target.unlink()
    write_hostile(path, form, pickle.dumps({"a": Hostile(target)}, 2))
    message = failure(capsys, 2, "from-torch", path, tmp_path / "OUT")
    assert str(path) in message
    assert [found.name for found in tmp_path.iterdir()] == ["hostile.pth"]


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("harm", ["truncated", "corrupt", "empty", "missing"])
def test_a_damaged_file(tmp_path, capsys, suffix, harm):
    if suffix == ".pth":
        pytest.importorskip("torch")
    path = tmp_path / f"w{suffix}"
    write_torch_file(path, small_tensors(), METADATA)
    content = bytearray(path.read_bytes())
    if harm == "missing":
        path.unlink()
    elif harm == "corrupt":
        start = 20 if suffix == ".safetensors" else len(content) // 2
        content[start : start + 40] = bytes(255 - byte for byte in content[start : start + 40])
        path.write_bytes(content)
    else:
        path.write_bytes(content[: len(content) // 2 if harm == "truncated" else 0])
    message = failure(capsys, 2, "from-torch", path, tmp_path / "OUT")
    assert str(path) in message
    assert not (tmp_path / "OUT").exists()


def test_wrong_tensors_are_all_listed_and_nothing_is_written(tmp_path, capsys):
    tensors = dict(small_tensors())
    tensors["Decoder.pred2.bias"] = np.zeros(3, np.float32)
    tensors["KV_M_r4.Key.weight"] = np.zeros((16, 32, 1, 1), np.float32)
    del tensors["Encoder_Q.mean"]
    save_file(tensors, tmp_path / "w.safetensors", METADATA)
    lines = failure(capsys, 2, "from-torch", tmp_path / "w.safetensors", tmp_path / "OUT").splitlines()
    assert lines == [
        f"{tmp_path / 'w.safetensors'}: 3 tensors do not match the model",
        "  Encoder_Q.mean (1, 3, 1, 1) is missing",
        "  KV_M_r4.Key.weight has the shape (16, 32, 1, 1), expected (16, 32, 3, 3)",
        "  Decoder.pred2.bias has the shape (3,), expected (2,)",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]


def test_a_checkpoint_of_another_model(tmp_path, capsys):
    save_file(resnet(), tmp_path / "resnet.safetensors")
    message = failure(capsys, 2, "from-torch", tmp_path / "resnet.safetensors", tmp_path / "OUT")
    assert f"{572 + len(resnet())} tensors do not match the model. The file contains no tensor of the model" in message
    assert message.count(" is missing\n") == message.count(" is not in the model\n") == 5
    assert message.endswith(f"\n  ... and {572 + len(resnet()) - 10} more")
    save_file(small_tensors(), tmp_path / "hmmn.safetensors")
    message = failure(capsys, 2, "imagenet", tmp_path / "hmmn.safetensors", tmp_path / "OUT")
    assert message.count(" is not in the model\n") == 5
    assert not (tmp_path / "OUT").exists()


def test_what_exists_is_not_overwritten(small_file, tmp_path, capsys):
    out = tmp_path / "OUT"
    out.mkdir()
    assert "already exists" in failure(capsys, 2, "from-torch", small_file, out)
    assert not list(out.iterdir())
    before = small_file.read_bytes()
    assert "already exists" in failure(capsys, 2, "to-torch", small_file, small_file)
    assert small_file.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"OUT", "small.safetensors"}


def test_files_in_a_bucket(small_file, tmp_path, capsys, bucket):
    bucket.put(str(small_file), "gs://b/w.safetensors")
    assert run("inspect", "gs://b/w.safetensors") == run("inspect", small_file) == 0
    one, other = np.split(np.array(capsys.readouterr().out.splitlines()), 2)
    assert (one == other).all()
    assert run("to-torch", "gs://b/w.safetensors", "gs://b/new.safetensors") == 0
    capsys.readouterr()
    assert "already exists" in failure(capsys, 2, "to-torch", small_file, "gs://b/new.safetensors")
    assert "gs://b/OUT: the path is in a bucket" in failure(capsys, 2, "from-torch", small_file, "gs://b/OUT")
    assert sorted(bucket.store) == ["/b/new.safetensors", "/b/w.safetensors"]


def test_outputs_that_cannot_be_written(small_file, tmp_path, capsys):
    assert "Not a directory" in failure(capsys, 2, "from-torch", small_file, small_file / "OUT")
    assert "cannot be written" in failure(capsys, 2, "to-torch", small_file, tmp_path / "nowhere" / "w.safetensors")
    assert "the suffix '.npz' is unknown" in failure(capsys, 2, "to-torch", small_file, tmp_path / "w.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["small.safetensors"]


@pytest.mark.parametrize("when", ["before", "while"])
def test_a_full_disk(small_file, tmp_path, capsys, monkeypatch, when):
    def fill_up(path, *_):
        raise OSError(errno.ENOSPC, "No space left on device")

    if when == "before":
        monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 0))
    else:
        monkeypatch.setattr(ocp.StandardCheckpointer, "save", fill_up)
    message = failure(capsys, 2, "from-torch", small_file, tmp_path / "OUT")
    assert "cannot be written" in message
    assert str(tmp_path / "OUT") in message
    monkeypatch.setattr(Path, "write_bytes", fill_up)
    assert "No space left" in failure(capsys, 2, "to-torch", small_file, tmp_path / "w.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["small.safetensors"]


def test_exit_codes_of_the_script_itself(small_file, tmp_path):
    def script(*arguments):
        command = [sys.executable, str(ROOT / "convert_weights.py"), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True)

    # Without a config in the file, the converter expects the tensor shapes of the published network.
    save_file(small_tensors(), tmp_path / "w.safetensors")
    for code, file in ((0, small_file), (2, tmp_path / "w.safetensors")):
        done = script("from-torch", file, tmp_path / f"OUT{code}")
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        assert (tmp_path / f"OUT{code}").exists() == (code == 0)


def test_a_error_in_the_command_line_is_one_line(small_file, tmp_path, capsys):
    assert "required: checkpoint, file" in failure(capsys, 2, "to-torch")
    assert "invalid choice: 'frobnicate'" in failure(capsys, 2, "frobnicate")
    assert "--seed is -1, expected 0 to" in failure(capsys, 2, "imagenet", small_file, tmp_path / "OUT", "--seed", "-1")
    verify = ("verify", "--official", "a", "--checkpoint", "b", "--frames", "c", "--mask", "d")
    assert "--tolerance is nan" in failure(capsys, 2, *verify, "--tolerance", "nan")


def test_paths_may_begin_with_the_home_folder(small_file, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert run("from-torch", "~/small.safetensors", "~/OUT") == run("to-torch", "~/OUT", "~/back.safetensors") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["OUT", "back.safetensors", "small.safetensors"]
    capsys.readouterr()
    assert "Pass the full path" in failure(capsys, 2, "inspect", "~nobody-of-this-name/w.pth")
