"""Tests the error messages for damaged checkpoint files and for files in other formats."""

import pickle
import zipfile

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from hmmn_jax.checkpoints.torch_file import read_torch_file, read_with_metadata
from hmmn_jax.errors import CheckpointError
from tests.checkpoints.pickles import MAGIC, VALUES, refusal, tensor, without_torch, write_zip


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_truncated_or_altered_file_is_rejected_or_unharmed(tmp_path, suffix):
    path, expected = tmp_path / "model", {"x": VALUES.reshape(2, 3)}
    write_zip(path, {"x": tensor()})
    if suffix == "safetensors":
        path.write_bytes(safetensors.numpy.save(expected))
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        refusal(path)
    for position in range(len(content)):
        altered = bytearray(content)
        altered[position] ^= 0xFF
        path.write_bytes(altered)
        try:
            read_torch_file(path)
        except CheckpointError as error:
            assert str(error).isprintable()
    if suffix == "pth":
        path.write_bytes(content.replace(VALUES.tobytes(), VALUES[::-1].tobytes()))
        assert "CRC" in refusal(path)


@pytest.mark.parametrize(
    ("top", "options", "told"),
    [
        ({"x": tensor()}, {"compression": zipfile.ZIP_DEFLATED}, "compressed"),
        ({"x": tensor()}, {"records": {"data/0": None}}, "'archive/data/0' is missing"),
        ({"x": tensor()}, {"records": {"data/0": b"123"}}, "3 bytes, expected 24"),
        ({"x": tensor()}, {"records": {"byteorder": "middle"}}, "byte order"),
        ({"x": tensor()}, {"records": {"constants.pkl": b""}}, "TorchScript"),
        ({"x": tensor()}, {"records": {"code/a.py": b""}}, "TorchScript"),
        ({"x": tensor()}, {"records": {"more/data.pkl": b""}}, "2 entries"),
        ({"x": tensor(), "epoch": 3}, {}, "'epoch' maps to int"),
        ({"x": tensor(), 3: tensor()}, {}, "key 3"),
        ({"epoch": 3, "state_dict": {"x": tensor()}}, {}, "weights_only=True)['state_dict']"),
        (tensor(), {}, "the top-level object is of type Tensor"),
        ({"a\nb\x1b[31m": 3}, {}, "maps to int"),
        ({"x" * 5000: 3}, {}, "maps to int"),
    ],
)
def test_what_differs_is_reported(tmp_path, top, options, told):
    assert told in refusal(write_zip(tmp_path / "model.pth", top, **options))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "the file is empty"),
        (b"PK", "neither"),
        (b"PK\x03\x04" + b"garbage" * 99, "damaged"),
        (b"cos\nsystem\n(X\x01\0\0\0atR.", "neither"),
        (b"<html>404</html>", "neither"),
        (pickle.dumps({"x": 3}), "a plain pickle"),
        (pickle.dumps({"x": VALUES}), "_reconstruct"),
        (b"\x20\0\0\0\0\0\0\0{" + b"x" * 40, "JSON"),
        (b"\xff\xff\xff\x7f\0\0\0\0{}", "damaged"),
    ],
)
def test_another_kind_of_file_is_rejected(tmp_path, content, told):
    (tmp_path / "model.pth").write_bytes(content)
    assert told in refusal(tmp_path / "model.pth")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_torchscript_archive_is_reported(tmp_path):
    torch = pytest.importorskip("torch")
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)), tmp_path / "a.pth")
    assert "TorchScript" in refusal(tmp_path / "a.pth")


def test_a_damaged_legacy_file_is_reported(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "a.pth"
    torch.save({"x": torch.ones(3)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    for length in range(20, len(content), 7):
        path.write_bytes(content[:length])
        assert "non-zip format" in refusal(path)


def test_a_missing_file_and_a_folder_are_reported(tmp_path):
    assert "No such file" in refusal(tmp_path / "absent.pth")
    assert "directory" in refusal(tmp_path)
    with pytest.raises(CheckpointError, match="No such file"):
        read_with_metadata(tmp_path / "absent.safetensors")


def test_an_unsupported_safetensors_dtype_is_named(tmp_path):
    array = np.zeros(2, ml_dtypes.float8_e4m3fn)
    (tmp_path / "a").write_bytes(safetensors.numpy.save({"x": array}))
    assert "'x' has the unsupported dtype F8" in refusal(tmp_path / "a")


def test_the_legacy_form_without_torch_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "a.pth").write_bytes(pickle.dumps(MAGIC, 2) + pickle.dumps(1001, 2))
    without_torch(monkeypatch)
    assert "pip install torch" in refusal(tmp_path / "a.pth")


def test_the_legacy_form_is_rejected_to_an_unsafe_torch(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    (tmp_path / "a.pth").write_bytes(pickle.dumps(MAGIC, 2) + pickle.dumps(1001, 2))
    monkeypatch.setattr(torch, "__version__", "2.5.1+cpu")
    assert "unsafe in PyTorch 2.5.1" in refusal(tmp_path / "a.pth")
