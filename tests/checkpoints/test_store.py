"""Tests loading of variables from checkpoint folders and from the steps of training runs."""

import contextlib
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from safetensors.numpy import load_file, save_file

from hmmn_jax.checkpoints import store
from hmmn_jax.checkpoints.steps import finished_steps
from hmmn_jax.checkpoints.store import METADATA_KEY, config_to_json, find_checkpoint, load_checkpoint, save_checkpoint
from hmmn_jax.checkpoints.torch_weights import to_torch
from hmmn_jax.errors import CheckpointError
from hmmn_jax.io.bundled import DEFAULT_WEIGHTS, WEIGHTS
from hmmn_jax.model import HMMNConfig, abstract_variables
from hmmn_jax.model.backbones import ResNet
from tests.checkpoints.loading import assert_equal, refusal
from tests.small import SMALL, untyped, variables

OLDER = Path(__file__).parents[1] / "golden" / "checkpoints_0.1"


def test_what_is_saved_is_loaded(saved):
    found, config = load_checkpoint(saved)
    assert config == SMALL
    assert_equal(found, jax.tree.map(np.asarray, variables()))
    assert [path.name for path in saved.parent.iterdir()] == ["OUT"]


@pytest.mark.parametrize("name", ["OUT", "weights.safetensors"])
def test_files_of_version_0_1(name):
    """Loads files that commit 3699c8c wrote.

    At that commit, the sizes of the ResNet were top-level fields of the config, and the layers were in `trunk`.
    """
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
    """Returns a workdir in the older format without records. All values of a checkpoint equal its step number."""
    work = tmp_path_factory.mktemp("run") / "work"
    for step in (2, 10):
        tree = jax.tree.map(lambda x, step=step: np.full_like(x, step), variables())
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(work / "checkpoints" / str(step) / "variables", tree)
    (work / "checkpoints" / "30.orbax-checkpoint-tmp").mkdir()
    shutil.copy(saved / "config.json", work)
    return work


def step_of(found):
    """Returns the step whose checkpoint was loaded."""
    (value,) = {float(leaf.flat[0]) for leaf in jax.tree.leaves(found[0])}
    return value


def record(run, **scores):
    """Writes records of checkpoints in the format of a training run. `scores` maps steps, such as `step_2`, to J&F."""
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
    record(run, step_2=scores[0], step_10=scores[1], step_20=0.9)  # the checkpoint of step 20 was deleted
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
    with pytest.raises(CheckpointError, match=r"OUT is a single checkpoint and has no steps. Omit the step"):
        load_checkpoint(saved, 2)
    with untyped(), pytest.raises(ValueError, match="step is 'last', expected an integer, 'best' or None"):
        load_checkpoint(run, "last")


def test_steps_that_a_run_did_not_record_do_not_count(tmp_path):
    for name in ("2", "10", "007", "²", "9" * 5000):
        with contextlib.suppress(OSError):  # the last name is too long for a file
            (tmp_path / "checkpoints" / name).mkdir(parents=True)
    assert finished_steps(tmp_path) == [2, 10]
    (tmp_path / "record/checkpoints").mkdir(parents=True)
    (tmp_path / "record/checkpoints/2.json").write_text("{}")
    assert finished_steps(tmp_path) == [2]


def test_a_model_of_the_package_by_name(saved, tmp_path, monkeypatch, capsys):
    """An existing path takes precedence over a model name.

    This test loads a small model under the name `lite`. The tests of the notebook and the wheel load the bundled models.
    """
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
