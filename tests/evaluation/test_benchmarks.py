"""Tests `benchmark_settings`, which returns the settings of a benchmark. The files in `configs/evaluate` use these settings."""

import importlib
from pathlib import Path

import pytest

from hmmn_jax.errors import ConfigError
from hmmn_jax.evaluation.benchmarks import BENCHMARKS, benchmark_settings
from hmmn_jax.evaluation.settings import check_settings

CONFIGS = Path(__file__).parents[2] / "configs" / "evaluate"


def test_each_has_a_config_file_and_the_other_way_round():
    assert {path.stem for path in CONFIGS.glob("*.py")} - {"__init__", "base"} == BENCHMARKS.keys()


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_config_file_gives_the_settings_of_its_name(name):
    config = importlib.import_module(f"configs.evaluate.{name}").get_config()
    assert config.to_dict() == benchmark_settings(name).to_dict()
    assert config.is_locked
    check_settings(config)


def test_a_name_that_is_not_there():
    with pytest.raises(ConfigError, match="unknown benchmark 'davis', expected one of davis2016_val, "):
        benchmark_settings("davis")


def test_one_call_does_not_change_the_next():
    benchmark_settings("custom").mem_every = 9
    assert benchmark_settings("custom").mem_every == 5
