"""Tests the check of training configs: each invalid or missing field is reported by name."""

import importlib
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from configs import train
from hmmn_jax.errors import ConfigError
from hmmn_jax.training.settings import require_settings
from tests.training.tiny_run import tiny_config

NAN, INF = float("nan"), float("inf")


def changed(**fields):
    config = tiny_config().unlock()
    for name, value in fields.items():
        *sections, leaf = name.split(".")
        section = config
        for part in sections:
            section = section[part]
        with section.ignore_type():
            section[leaf] = value
    return config


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("samples", value) for value in (-5, 0, 1.5, None, "many", True, 2**50)],
        *[(name, value) for name in ("batch", "micro_batches", "log_every") for value in (0, -1, None, 2.0)],
        *[(f"checkpoint.{name}", value) for name, value in (("every", 0), ("keep", 0), ("keep_best", -1), ("keep", None))],
        *[(f"validation.{name}", value) for name, value in (("every", 0), ("mem_every", 0), ("size", -1), ("size", 3))],
        *[("learning_rate.schedule", value) for value in ("x", None, 3)],
        *[(f"learning_rate.{name}", value) for name in ("peak", "power", "factor", "end") for value in (NAN, INF, -1.0, None)],
        *[("learning_rate.boundaries", value) for value in ((0.5, 2), ("a",), (NAN,), 0.5, (0,))],
        ("learning_rate.warmup", -1),
        *[("hardest.share", value) for value in (0.0, 2.0, NAN, None)],
        *[(f"hardest.{name}", -1) for name in ("start", "end")],
        *[("dropout", value) for value in (2.0, -0.1, NAN, None)],
        *[("ema_decay", value) for value in (1.5, 1.0, -0.1, NAN)],
        *[("seed", value) for value in (-1, 2**40, None, 0.5)],
        *[("optimizer.name", value) for value in ("x", None)],
        *[("optimizer.clip_norm", value) for value in (-1.0, NAN)],
        *[("optimizer.b1", 1.0), ("optimizer.momentum", 0.9), ("optimizer.parts", 0.1)],
        *[("optimizer.parts", ConfigDict({"parts": value})) for value in (-1.0, NAN, None)],
        *[("stop_above", value) for value in (NAN, 0.0, -1.0, None)],
        *[(name, None) for name in ("init", "resume", "profile", "validation.data", "data.data_dir")],
        *[("parallel", value) for value in ("pnap", None)],
        *[("slots", value) for value in (3, (0,), (2.0,))],
        *[("devices", -1), ("deterministic", 1), ("learning_rate.for_batch", -4)],
        *[("data.max_skip", value) for value in ((), ((5, 0),), ((0, -1),), ((0, 1), (9, 2), (5, 3)), 7, ((0,),))],
        *[("data.size", value) for value in ((0, 32), (32,), 32, (-1, 5), (10**9, 10**9))],
        *[("data.flip", 2.0), ("data.max_objects", 0), ("data.affine.frame.zoom", (2.0, 1.0)), ("data.fill", (0, 0, 256))],
        *[("model.dtype", "float64"), ("data", 3), ("learning_rate", None)],
    ],
)
def test_what_cannot_work_is_rejected_by_name(name, value):
    with pytest.raises(ConfigError) as caught:
        require_settings(changed(**{name: value}))
    told = str(caught.value)
    assert "\n" not in told and name.rpartition(".")[2] in told and "config." in told


def test_a_field_that_is_missing():
    config = tiny_config().unlock()
    del config["log_every"]
    with pytest.raises(ConfigError, match=r"config.log_every is missing. Start your config from configs.train.base.base\(\)"):
        require_settings(config)
    with pytest.raises(ConfigError, match="is missing"):
        require_settings(ConfigDict())


@pytest.mark.parametrize("name", ["init", "resume", "validation.data", "data.data_dir"])
def test_paths_in_buckets(name, bucket):
    require_settings(changed(**{name: "gs://b/x"}))
    with pytest.raises(ConfigError, match=rf"config\.{name}: http://h/x: http:// is not supported"):
        require_settings(changed(**{name: "http://h/x"}))


def test_what_can_work():
    require_settings(changed(**{"stop_above": INF, "checkpoint.keep_best": 0, "hardest.share": 0.5, "optimizer.b1": 0.5}))
    require_settings(changed(**{"optimizer.parts": ConfigDict({"backbone": 0.1, "backbone/conv_mask": 1})}))


def test_the_configs_that_come_along():
    modules = [importlib.import_module(f"configs.train.{path.stem}") for path in Path(train.__file__).parent.glob("*.py")]
    found = [
        config for module in modules if hasattr(module, "get_config") and "learning_rate" in (config := module.get_config())
    ]
    assert len(found) >= 7
    for config in found:
        require_settings(config)
