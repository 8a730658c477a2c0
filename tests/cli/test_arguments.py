"""Tests the parsing of settings that are given as text."""

import pytest

from hmmn_jax.cli.arguments import as_overrides, override, parse_step
from hmmn_jax.errors import ConfigError
from hmmn_jax.evaluation.benchmarks import benchmark_settings
from hmmn_jax.evaluation.settings import check_settings


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("mem_every=3", 3),
        ("flip=true", True),
        ("flip=False", False),
        ("scales=0.75,1.0", (0.75, 1.0)),
        ("scales=(0.75, 1.0)", (0.75, 1.0)),
        ("scales=2.0", (2.0,)),
        ("sequences=bear,camel", ("bear", "camel")),
        ("sequences=bear", ("bear",)),
        ("resolution=480", "480"),  # a field of type str keeps the text
        ("split=a=b", "a=b"),
        ("fps=12.5", 12.5),
        ("fps=25", 25.0),
    ],
)
def test_values_have_the_type_of_their_field(text, value):
    config = benchmark_settings("custom")
    assert override(config, [text]) == {text.partition("=")[0]}
    found = config[text.partition("=")[0]]
    assert found == value and type(found) is type(value)
    check_settings(config)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mem_every", "--set mem_every: expected NAME=VALUE"),
        ("mem_evry=3", "'mem_evry' is not a setting, expected one of annotations, "),
        ("paper=1", "'paper' is not a setting"),
        ("lock=1", "'lock' is not a setting"),
    ],
)
def test_text_that_set_nothing(text, said):
    with pytest.raises(ConfigError, match=said):
        override(benchmark_settings("custom"), [text])


@pytest.mark.parametrize(
    "text", ["mem_every=often", "mem_every=1.5", "flip=1", "scales=big", "fps=[]", f"mem_every={'(' * 500}"]
)
def test_values_that_cannot_work_are_reported_by_the_check_of_settings(text):
    config = benchmark_settings("custom")
    override(config, [text])
    with pytest.raises(ConfigError, match=f"config.{text.partition('=')[0]} is "):
        check_settings(config)


def test_the_later_one_wins_and_others_stay():
    config = benchmark_settings("davis2016_val")
    assert override(config, ["mem_every=3", "size=480", "mem_every=4"]) == {"mem_every", "size"}
    expected = benchmark_settings("davis2016_val")
    expected.mem_every, expected.size = 4, 480
    assert config.to_dict() == expected.to_dict() and config.is_locked


def test_flags_of_the_scripts_are_taken():
    assert as_overrides(["x", "--config.flip=True", "--config", "--set", "a=b"]) == [
        "x",
        "--set=flip=True",
        "--config",
        "--set",
        "a=b",
    ]


def test_steps():
    assert [parse_step(text) for text in (None, "best", "0", "12")] == [None, "best", 0, 12]
    for text in ("", "-1", "1.0", "last", "1" * 20, "²"):
        with pytest.raises(ConfigError, match="expected a number or 'best'"):
            parse_step(text)
