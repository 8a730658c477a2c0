"""Tests that an output folder belongs to one model and one set of settings, and that a user's files are not modified."""

import json

import numpy as np
import pytest

from configs.evaluate import davis2016_val
from hmmn_jax.errors import ConfigError
from hmmn_jax.evaluation.run_folder import RunFolder, mask_settings, weights_digest


def test_the_same_may_continue_and_nothing_else(tmp_path):
    config = davis2016_val.get_config()
    made_with = {"settings": mask_settings(config), "weights": "abc", "model": {"widths": (1, 2)}}
    run = RunFolder(tmp_path)
    run.require_usable()
    run.claim(made_with)
    run.require_usable()
    run.require_same(made_with)
    assert json.loads((tmp_path / "record/run.json").read_text())["made_with"]["weights"] == "abc"
    config.fps, config.sequences, config.save_probabilities = 25.0, ("bear",), True  # masks do not depend on these settings
    run.require_same(made_with | {"settings": mask_settings(config)})
    config.mem_every = 3
    with pytest.raises(ConfigError, match=r"run.json: .* settings.mem_every 5, but this run uses 3\. Choose another --output"):
        run.require_same(made_with | {"settings": mask_settings(config)})
    with pytest.raises(ConfigError, match=r"made with weights abc, but this run uses abd"):
        run.require_same(made_with | {"weights": "abd"})
    with pytest.raises(ConfigError, match=r"made with data None, but this run uses"):
        run.require_same(made_with | {"data": "/elsewhere"})


@pytest.mark.parametrize(
    "name", ["masks/", "overlays/", "movies/", "probabilities/", "scores/", "summary.json", "per_frame.csv", "report.html",
             "submission.zip", "run.json", "record/", "record"],
)  # fmt: skip
def test_results_without_a_record_do_not_change(tmp_path, name):
    """Older versions wrote a folder `scores`, and wrote `run.json` outside of the folder `record`."""
    path = tmp_path / name
    if name.endswith("/"):
        path.mkdir()
        path = path / "precious"
    path.write_text("the user's")
    with pytest.raises(ConfigError, match=rf"contains {name.strip('/')} without a record of a run\. Choose another --output"):
        RunFolder(tmp_path).require_usable()
    assert path.read_text() == "the user's"


def test_other_files_do_not_matter_and_a_lock_that_was_left_neither(tmp_path):
    (tmp_path / "notes.txt").write_text("the user's")
    run = RunFolder(tmp_path)
    with run.locked():
        pass
    run.require_usable()
    (tmp_path / "record/run.json").write_text("{")
    with pytest.raises(ConfigError, match=r"run.json: the file is not a record of an evaluation"):
        run.require_usable()
    with pytest.raises(ConfigError, match="this path is a file"):
        RunFolder(tmp_path / "notes.txt").require_usable()


@pytest.mark.parametrize(
    ("change", "said"),
    [({"format": -1}, "the format is -1, expected"), ({"made_with": []}, "the entry 'made_with' has the type list, expected")],
)
def test_a_record_that_was_edited_is_reported_with_the_wrong_entry(tmp_path, change, said):
    run = RunFolder(tmp_path)
    with run.locked():
        run.claim(None)
    path = tmp_path / "record/run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ConfigError, match=said):
        run.require_usable()


def test_scores_alone_keep_what_masks_were_made_with(tmp_path):
    run = RunFolder(tmp_path)
    run.claim(None)
    run.require_same({"weights": "abc"})  # no masks exist yet
    run.claim({"weights": "abc"})
    run.claim(None)
    with pytest.raises(ConfigError, match="made with weights abc"):
        run.require_same({"weights": "abd"})


def test_the_digest_is_of_names_types_and_values():
    ones = np.ones((2, 3), np.float32)
    digests = {
        weights_digest(tree)
        for tree in (
            {"a": {"x": ones}},
            {"a": {"y": ones}},
            {"a": {"x": ones + np.float32(1e-7)}},
            {"a": {"x": ones.T}},
            {"a": {"x": ones.astype(np.float16)}},
        )
    }
    assert len(digests) == 5
    assert weights_digest({"a": ones, "b": ones * 2}) == weights_digest({"b": ones * 2, "a": ones})
