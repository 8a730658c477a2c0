"""Tests the error messages for damaged checkpoint folders."""

import json
import logging
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import save_file

from hmmn_jax.checkpoints.store import METADATA_KEY, config_to_json, load_checkpoint
from hmmn_jax.checkpoints.torch_weights import to_torch
from hmmn_jax.errors import MismatchError
from tests.checkpoints.loading import refusal
from tests.small import SMALL, variables, with_backbone


def copy(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "OUT")


def test_a_path_that_is_no_checkpoint(tmp_path):
    assert "no such file or folder" in refusal(tmp_path / "nothing")
    assert "does not contain config.json" in refusal(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        *("", "[1]", "{}", "\x00", "[" * 100_000, '{"model": ' * 9999),
        *('{"model": [1]}', '{"model": {"depth": 3}}', '{"model": {"window": 4}}', '{"model": {"blocks": 7}}'),
        *('{"model": {"decoder_dim": 1e999}}', '{"model": {"window": "\\ud800"}}', '{"model": {"widths": [4, 4, 99999999]}}'),
    ],
)
def test_a_damaged_config(tmp_path, saved, text):
    path = copy(saved, tmp_path)
    (path / "config.json").write_text(text)
    message = refusal(path)
    assert "not the config of a model" in message
    assert "\n" not in message


def test_a_folder_whose_writing_was_cut_off(tmp_path, saved):
    path = copy(saved, tmp_path)
    shutil.rmtree(path / "variables")
    assert "Writing may have been interrupted" in refusal(path)


def test_a_damaged_folder_is_reported_without_tracebacks_of_other_threads(tmp_path, saved, capfd):
    """After an error, TensorStore continues to read, and reports further errors to an event loop that is already closed.

    The filters that hide these reports stay active, because some reports arrive after the end of the test.
    """
    path = copy(saved, tmp_path)
    largest = max((path / "variables").rglob("*/d/*"), key=lambda file: file.stat().st_size)
    largest.write_bytes(bytes(255 - byte for byte in largest.read_bytes()))
    refusal(path)
    late = SimpleNamespace(exc_type=RuntimeError, exc_value=RuntimeError("Event loop is closed"), exc_traceback=None)
    sys.unraisablehook(SimpleNamespace(**vars(late), err_msg=None, object=None))
    logging.getLogger("asyncio").error("Task exception was never retrieved: tensorstore_spec")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("harm", ["empty", "missing", "truncated"])
def test_damaged_variables(tmp_path, saved, harm):
    path = copy(saved, tmp_path)
    for file in (path / "variables").rglob("*"):
        if harm == "missing" and file.is_file():
            file.unlink()
        elif file.is_file():
            content = file.read_bytes()
            file.write_bytes(b"" if harm == "empty" else content[: len(content) // 2])
    message = refusal(path)
    assert "cannot be read as an Orbax checkpoint" in message
    assert "\n" not in message


def test_variables_of_another_model_are_listed(tmp_path, saved):
    path = copy(saved, tmp_path)
    other = with_backbone(SMALL.replace(decoder_dim=24), blocks=(1, 2, 1))
    (path / "config.json").write_text(json.dumps({"model": other.to_dict()}))
    lines = refusal(path, MismatchError).splitlines()
    assert any(line.endswith(" is missing") and "/memory_encoder/backbone/res3_1/" in line for line in lines)
    assert any(line.startswith("  params/decoder/") and " has the shape " in line and ", expected " in line for line in lines)
    count = int(lines[-1].split()[2])
    assert len(lines) == 12 and f": {count + 10} tensors" in lines[0]


def test_a_config_that_is_no_text(tmp_path, saved):
    path = copy(saved, tmp_path)
    (path / "config.json").write_bytes(b"\xff\xfe{}")
    assert "not the config of a model" in refusal(path)


def test_numbers_that_are_not_finite_are_reported(tmp_path, capsys):
    tensors = to_torch(variables(), SMALL) | {"Decoder.pred2.bias": np.array([np.nan, 1], np.float32)}
    save_file(tensors, tmp_path / "w.safetensors", {METADATA_KEY: config_to_json(SMALL)})
    load_checkpoint(tmp_path / "w.safetensors")
    (line,) = capsys.readouterr().err.splitlines()
    assert "1 tensors contain NaN or infinity, such as params/decoder/conv_predict/bias" in line
