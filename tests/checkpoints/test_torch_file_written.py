"""Tests functions that write checkpoint files."""

import errno
import os
from collections import OrderedDict

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from hmmn_jax.checkpoints.torch_file import read_torch_file, read_with_metadata, write_torch_file
from hmmn_jax.errors import CheckpointError
from tests.checkpoints.pickles import VALUES, assert_same, refusal, without_torch


def to_write():
    return {
        "transposed": VALUES.reshape(2, 3).T,
        "half": VALUES.astype(np.float16),
        "bf16": VALUES.astype(ml_dtypes.bfloat16),
        "big": VALUES.astype(">f4"),
        "counter": np.array(7, np.int64),
        "empty": np.empty((0, 3), np.float32),
        "reversed": VALUES[::-1],
        "mask": np.array([True, False]),
    }


@pytest.mark.parametrize("name", ["a.safetensors", "a.pth", "a.pt"])
def test_what_is_written_is_read_again(tmp_path, name):
    if not name.endswith("safetensors"):
        pytest.importorskip("torch")
    write_torch_file(tmp_path / name, to_write(), {"made": "here"})
    found, expected = read_torch_file(tmp_path / name), to_write()
    expected["big"] = expected["big"].astype("f4")
    assert_same({key: found[key] for key in expected}, expected)
    assert set(found) == set(expected) and os.listdir(tmp_path) == [name]
    made = {"made": "here"} if name == "a.safetensors" else {}
    assert read_with_metadata(tmp_path / name)[1] == made


def test_torch_loads_what_is_written(tmp_path):
    torch = pytest.importorskip("torch")
    write_torch_file(tmp_path / "a.pth", {"n": np.array(7), "b": np.ones(2, ml_dtypes.bfloat16)})
    loaded = torch.load(tmp_path / "a.pth", weights_only=True)
    assert type(loaded) is OrderedDict and loaded["b"].dtype == torch.bfloat16
    assert loaded["n"].dtype == torch.int64 and loaded["n"].shape == () and loaded["n"] == 7


@pytest.mark.parametrize(
    ("name", "tensors", "told"),
    [
        ("a.npz", {"x": VALUES}, "the suffix '.npz' is unknown"),
        ("a", {"x": VALUES}, "the suffix '' is unknown"),
        ("absent/a.safetensors", {"x": VALUES}, "No such file"),
        ("a.safetensors", {"x": np.array(["text"])}, "cannot be written"),
        ("a.safetensors", {"x": np.array([None])}, "cannot be written"),
    ],
)
def test_what_cannot_be_written_is_reported_and_leaves_nothing(tmp_path, name, tensors, told):
    with pytest.raises(CheckpointError) as caught:
        write_torch_file(tmp_path / name, tensors)
    assert told in str(caught.value) and str(caught.value).isprintable()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("step", ["write_bytes", "link"])
def test_a_full_disk_leaves_no_file(tmp_path, monkeypatch, step):
    def full(path, content):
        if step == "write_bytes":
            with open(path, "wb") as file:
                file.write(content[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(*(("pathlib.Path.write_bytes", full) if step == "write_bytes" else (os, "rename", full)))
    if step == "link":  # without hard links, the file is renamed
        monkeypatch.setattr(os, "link", full)
    with pytest.raises(CheckpointError, match="No space left"):
        write_torch_file(tmp_path / "a.safetensors", {"x": VALUES})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_file_that_exists_is_not_replaced(tmp_path, monkeypatch, when, links):
    path = tmp_path / "a.safetensors"

    def appear(*_, **__):
        path.write_text("mine")
        return b"content"

    if not links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.EPERM, "Operation not permitted")))
    if when == "before":
        appear()
    else:
        monkeypatch.setattr(safetensors.numpy, "save", appear)
    with pytest.raises(CheckpointError, match=f"{path} cannot be written: already exists"):
        write_torch_file(path, {"x": VALUES})
    assert os.listdir(tmp_path) == ["a.safetensors"] and path.read_text() == "mine"


def test_a_pipe_and_a_folder_are_rejected(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "neither a file nor a folder" in refusal(tmp_path / "pipe")
    assert "Is a directory" in refusal(tmp_path)


def test_without_torch_a_pth_is_not_written(tmp_path, monkeypatch):
    without_torch(monkeypatch)
    with pytest.raises(CheckpointError, match="pip install torch"):
        write_torch_file(tmp_path / "a.pth", {"x": VALUES})
    assert os.listdir(tmp_path) == []
