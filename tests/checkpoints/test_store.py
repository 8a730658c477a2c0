"""Checkpoint folders: saved variables are loaded, and errors are reported in one line."""

import contextlib
import errno
import json
import logging
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from safetensors.numpy import load_file, save_file

from hmmn_jax.checkpoints import store
from hmmn_jax.checkpoints.steps import RECORDS, STEPS, VARIABLES, find_step, finished_steps
from hmmn_jax.checkpoints.store import (
    CONFIG_FILE,
    METADATA_KEY,
    config_to_json,
    find_checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from hmmn_jax.checkpoints.torch_file import read_torch_file, write_torch_file
from hmmn_jax.checkpoints.torch_weights import to_torch
from hmmn_jax.errors import CheckpointError, DataError, MismatchError
from hmmn_jax.io.buckets import as_path
from hmmn_jax.io.bundled import DEFAULT_WEIGHTS, WEIGHTS
from hmmn_jax.model import HMMNConfig, abstract_variables
from hmmn_jax.model.backbones import ResNet
from tests.buckets import UnreachableBucket, serving
from tests.small import SMALL, untyped, variables, with_backbone

OLDER = Path(__file__).parents[1] / "golden" / "checkpoints_0.1"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A checkpoint folder. Copy it before changing it."""
    path = tmp_path_factory.mktemp("saved") / "OUT"
    save_checkpoint(path, variables(), SMALL)
    return path


def copy(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "OUT")


def refusal(path, kind=CheckpointError):
    """The error message for a checkpoint, which must name the path."""
    with pytest.raises(kind) as caught:
        load_checkpoint(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def assert_equal(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert type(a) is np.ndarray
        assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, np.asarray(b).tobytes())


def test_what_is_saved_is_loaded(saved):
    found, config = load_checkpoint(saved)
    assert config == SMALL
    assert_equal(found, jax.tree.map(np.asarray, variables()))
    assert [path.name for path in saved.parent.iterdir()] == ["OUT"]


@pytest.mark.parametrize("name", ["OUT", "weights.safetensors"])
def test_files_of_version_0_1(name):
    """Made by commit 3699c8c: sizes of the ResNet were next to the other fields, and its layers in `trunk`."""
    found, config = load_checkpoint(OLDER / name)
    assert config == HMMNConfig(
        backbone=ResNet(stem_width=4, blocks=(1, 1, 1), widths=(8, 8, 12)),
        **{f"{kind}_dim_s{stride}": 4 for kind in ("key", "value") for stride in (16, 8, 4)},
        decoder_dim=4,
        window=3,
        k_s8=4,
        k_s4=2,
    )
    expected = load_file(OLDER / "weights.safetensors")
    tensors = to_torch(found, config)
    assert tensors.keys() == expected.keys() and len(tensors) == 212
    for tensor_name, tensor in tensors.items():
        np.testing.assert_array_equal(tensor, expected[tensor_name], err_msg=tensor_name)
    assert jax.tree.structure(found) == jax.tree.structure(abstract_variables(config))


def test_counters_keep_their_64_bits(tmp_path):
    large = jax.tree.map(lambda x: np.asarray(x + 2**40 if np.issubdtype(x.dtype, np.integer) else x), variables())
    save_checkpoint(tmp_path / "OUT", large, SMALL)
    assert_equal(load_checkpoint(tmp_path / "OUT")[0], large)


def test_a_relative_path(tmp_path, saved, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_checkpoint("made/on/the/way", variables(), SMALL)
    assert_equal(load_checkpoint("made/on/the/way")[0], load_checkpoint(saved)[0])


def test_the_config_travels_in_the_metadata_of_one_file(tmp_path):
    path = tmp_path / "small.safetensors"
    save_file(to_torch(variables(), SMALL), path, {METADATA_KEY: config_to_json(SMALL)})
    found, config = load_checkpoint(path)
    assert config == SMALL
    assert_equal(found, jax.tree.map(np.asarray, variables()))


@pytest.fixture(scope="module")
def run(tmp_path_factory, saved):
    """A training workdir of an older version, without records. The values in a checkpoint are its step."""
    work = tmp_path_factory.mktemp("run") / "work"
    for step in (2, 10):
        tree = jax.tree.map(lambda x, step=step: np.full_like(x, step), variables())
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(work / "checkpoints" / str(step) / "variables", tree)
    (work / "checkpoints" / "30.orbax-checkpoint-tmp").mkdir()
    shutil.copy(saved / "config.json", work)
    return work


def step_of(found):
    """The step whose checkpoint was loaded."""
    (value,) = {float(leaf.flat[0]) for leaf in jax.tree.leaves(found[0])}
    return value


def record(run, **scores):
    """Adds records of checkpoints as a run writes them, J&F by step."""
    for step, jf in scores.items():
        about = {"scores": None if jf is None else {"jf": jf, "j": 0.5, "f": 0.5}}
        path = run / f"record/checkpoints/{step.removeprefix('step_')}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"format": 1, "about": about, "files": {}}))
    return run


def test_the_latest_finished_step_of_a_training_workdir(run):
    assert step_of(load_checkpoint(run)) == 10


def test_any_step_of_a_training_workdir(run):
    assert step_of(load_checkpoint(run, 2)) == 2
    with pytest.raises(CheckpointError, match=r"work: step 30 has no checkpoint. Pass one of these steps: 10, 2$"):
        load_checkpoint(run, step=30)


@pytest.mark.parametrize(("scores", "best"), [((0.7, 0.3), 2), ((0.3, 0.7), 10), ((0.5, 0.5), 10), ((0.0, None), 2)])
def test_the_best_step_of_a_training_workdir(tmp_path, run, scores, best):
    run = shutil.copytree(run, tmp_path / "work")
    record(run, step_2=scores[0], step_10=scores[1], step_20=0.9)  # step 20 was deleted
    assert step_of(load_checkpoint(run, step="best")) == best
    assert step_of(load_checkpoint(run)) == 10


def test_no_step_is_the_best_where_none_was_validated(tmp_path, run):
    message = r"work: no checkpoint was validated. Pass one of these steps: 10, 2$"
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(run, "best")
    run = record(shutil.copytree(run, tmp_path / "work"), step_2=None, step_10=None)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(run, "best")


def test_a_step_of_what_has_none(saved, run):
    with pytest.raises(CheckpointError, match=r"OUT: a single checkpoint has no steps. Omit the step"):
        load_checkpoint(saved, 2)
    with untyped(), pytest.raises(ValueError, match="step is 'last', expected an integer, 'best' or None"):
        load_checkpoint(run, "last")


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
    """After an error, TensorStore continues reading, and each tensor reports to a closed event loop.

    The filters are not removed, because reports arrive during later tests.
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


def test_steps_that_a_run_did_not_record_do_not_count(tmp_path):
    for name in ("2", "10", "007", "²", "9" * 5000):
        with contextlib.suppress(OSError):  # the last one is too long for a file name
            (tmp_path / "checkpoints" / name).mkdir(parents=True)
    assert finished_steps(tmp_path) == [2, 10]
    (tmp_path / "record/checkpoints").mkdir(parents=True)
    (tmp_path / "record/checkpoints/2.json").write_text("{}")
    assert finished_steps(tmp_path) == [2]


def failure(path):
    """The error message of saving."""
    with pytest.raises(CheckpointError) as caught:
        save_checkpoint(path, variables(), SMALL)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_what_exists_does_not_change(tmp_path):
    path = tmp_path / "OUT"
    path.write_text("mine")
    assert "already exists" in failure(path)
    assert path.read_text() == "mine"


def test_a_parent_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("mine")
    assert "Not a directory" in failure(tmp_path / "file" / "OUT")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_partial_folder_of_another_does_not_change(tmp_path):
    mine = tmp_path / ".OUT.partial/mine"
    mine.parent.mkdir()
    mine.write_text("mine")
    save_checkpoint(tmp_path / "OUT", variables(), SMALL)
    assert mine.read_text() == "mine" and sorted(path.name for path in tmp_path.iterdir()) == [".OUT.partial", "OUT"]


def test_a_full_disk_is_seen_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 90, 10))
    assert "10 are free" in failure(tmp_path / "OUT")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), ValueError("RESOURCE_EXHAUSTED\nmore")])
def test_a_disk_that_fills_up_leaves_nothing(tmp_path, monkeypatch, error):
    def save(self, path, tree):
        path.mkdir()
        (path / "half").write_bytes(b"half")
        raise error

    monkeypatch.setattr(ocp.StandardCheckpointer, "save", save)
    assert str(error.args[-1]).splitlines()[0] in failure(tmp_path / "OUT")
    assert not list(tmp_path.iterdir())


def test_checkpoints_in_a_bucket(saved, tmp_path, bucket):
    write_torch_file(tmp_path / "w.safetensors", to_torch(variables(), SMALL), {METADATA_KEY: config_to_json(SMALL)})
    bucket.put(str(saved), "gs://b/OUT", recursive=True)
    bucket.put(str(tmp_path / "w.safetensors"), "gs://b/w.safetensors")
    for step, jf in ((2, 0.9), (4, 0.8), (6, None), (8, 0.7)):  # 6 is not recorded, and 8 is not finished
        bucket.put(str(saved / VARIABLES), f"gs://b/run/{STEPS}/{step}/{VARIABLES}", recursive=True)
        if step < 8:
            bucket.pipe(f"gs://b/run/{STEPS}/{step}/commit_success.txt", b"")
        if jf is not None:
            record = {"format": 1, "about": {"scores": {"jf": jf}}, "files": {}}
            bucket.pipe(f"gs://b/run/{RECORDS}/{step}.json", json.dumps(record).encode())
    bucket.put(str(saved / CONFIG_FILE), f"gs://b/run/{CONFIG_FILE}")
    assert finished_steps(as_path("gs://b/run")) == [2, 4] and find_step(as_path("gs://b/run"), "best") == 2
    before = set(bucket.store)
    for name in ("OUT", "w.safetensors", "run"):
        found, config = load_checkpoint(f"gs://b/{name}")
        assert config == SMALL
        assert_equal(found, jax.tree.map(np.asarray, variables()))
    assert set(bucket.store) == before


def test_what_is_wrong_in_a_bucket_is_reported_by_its_path(saved, tmp_path, bucket, monkeypatch):
    assert "no such file or folder" in refusal("gs://b/OUT")
    bucket.pipe("gs://b/w.pth", b"no weights")
    assert "neither a torch.save file nor a safetensors file" in refusal("gs://b/w.pth")
    bucket.put(str(saved / CONFIG_FILE), f"gs://b/OUT/{CONFIG_FILE}")
    assert "Writing may have been interrupted" in refusal("gs://b/OUT")
    bucket.pipe(f"gs://b/OUT/{VARIABLES}/x", b"")
    assert "cannot be read as an Orbax checkpoint" in refusal("gs://b/OUT")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"gs://b/NEW: is in a bucket, .* Pass a local path"):
        save_checkpoint("gs://b/NEW", variables(), SMALL)
    assert not list(tmp_path.iterdir())
    with serving(monkeypatch, UnreachableBucket):
        assert "Check the name of the bucket, your credentials and the network" in refusal("gs://b/OUT")


def test_weights_are_written_to_a_bucket_once(bucket):
    tensors = {"a": np.arange(3.0)}
    write_torch_file("gs://b/new/w.safetensors", tensors)
    assert_equal(read_torch_file("gs://b/new/w.safetensors"), tensors)
    with pytest.raises(CheckpointError, match=r"gs://b/new/w\.safetensors: cannot be written: already exists"):
        write_torch_file("gs://b/new/w.safetensors", {})


def test_a_model_of_the_package_by_name(saved, tmp_path, monkeypatch, capsys):
    """An existing path has priority. (Tests of the notebook and of the wheel load the models themselves.)"""
    assert DEFAULT_WEIGHTS in WEIGHTS and all(file.is_file() for file in WEIGHTS.values())
    monkeypatch.setitem(WEIGHTS, "lite", saved)
    monkeypatch.chdir(tmp_path)
    assert find_checkpoint("lite") == find_checkpoint(Path("lite")) == find_checkpoint("./lite") == saved
    store._tell_terms.cache_clear()
    for _ in range(2):
        assert_equal(load_checkpoint("lite")[0], variables())
    assert capsys.readouterr().err.count("NOTE: the bundled weights are for research only") == 1
    (tmp_path / "lite").mkdir()
    assert find_checkpoint("lite") == tmp_path / "lite"
    assert refusal("lite").startswith(f"{tmp_path / 'lite'}: the folder does not contain config.json")
    assert refusal("huge").endswith("/huge: no such file or folder. Pass a checkpoint, or a bundled model (lite)")
