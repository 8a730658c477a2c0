"""A folder of masks belongs to one model and one set of settings."""

import json

import numpy as np
import pytest

from configs import davis2016_val
from hmmn_jax.errors import ConfigError, DataError
from hmmn_jax.evaluation.run_record import claim_folder, mask_settings, weights_digest


def test_the_same_may_go_on_and_nothing_else(tmp_path):
    config = davis2016_val.get_config()
    made_with = {"settings": mask_settings(config), "weights": "abc", "model": {"widths": (1, 2)}}
    claim_folder(tmp_path, made_with)
    claim_folder(tmp_path, made_with)
    assert json.loads((tmp_path / "run.json").read_text())["weights"] == "abc"
    config.fps, config.sequences, config.save_scores = 25.0, ("bear",), True  # which masks do not depend on
    claim_folder(tmp_path, made_with | {"settings": mask_settings(config)})
    config.mem_every = 3
    with pytest.raises(ConfigError, match=r"run.json: .* made with settings.mem_every 5, now it is 3; give another --output"):
        claim_folder(tmp_path, made_with | {"settings": mask_settings(config)})
    with pytest.raises(ConfigError, match=r"made with weights abc, now it is abd"):
        claim_folder(tmp_path, made_with | {"weights": "abd"})
    with pytest.raises(ConfigError, match=r"made with data None, now it is"):
        claim_folder(tmp_path, made_with | {"data": "/elsewhere"})


def test_masks_of_unknown_origin_and_a_damaged_record(tmp_path):
    (tmp_path / "masks").mkdir()
    with pytest.raises(ConfigError, match=r"masks without run\.json"):
        claim_folder(tmp_path, {})
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(DataError, match=r"run.json: cannot be read"):
        claim_folder(tmp_path, {})


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
