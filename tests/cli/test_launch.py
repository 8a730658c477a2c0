"""Tests the flags of the scripts, and that the former paths of config files still work."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags
from ml_collections import config_flags

from hmmn_jax.cli import launch
from hmmn_jax.ops.canary import WAY_OUT

pytestmark = pytest.mark.filterwarnings("ignore:.*load_module:DeprecationWarning")  # raised by ml_collections
CONFIG_FILE = """
from ml_collections import ConfigDict

def get_config(name=""):
    return ConfigDict({"folder": __file__.split("/")[-2], "name": name, "x": 1})
"""


@pytest.fixture
def parse(tmp_path, monkeypatch):
    """Returns a function that parses arguments in a folder with config files, and returns the config as a dict."""
    for file in ("train/lite.py", "evaluate/custom.py", "train/base.py", "evaluate/base.py", "mine.py", "train/mine.py"):
        (tmp_path / "configs" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "configs" / file).write_text(CONFIG_FILE)
    monkeypatch.chdir(tmp_path)

    def parse(*arguments, default=""):
        values = flags.FlagValues()
        monkeypatch.setattr(flags, "FLAGS", values)
        config = config_flags.DEFINE_config_file("config", None, "", flag_values=values)
        monkeypatch.setattr(sys, "argv", ["prog", *arguments])  # ml_collections reads overrides from sys.argv
        launch.flags_parser("prog", config, default=default)(sys.argv)
        return config.value.to_dict()

    return parse


@pytest.mark.parametrize(
    ("arguments", "expected", "file"),
    [
        (["--config", "configs/lite.py"], ("train", "", 1), "configs/train/lite.py"),
        (["--config=configs/custom.py", "--config.x=2"], ("evaluate", "", 2), "configs/evaluate/custom.py"),
        (["-config=configs/lite.py:tiny"], ("train", "tiny", 1), "configs/train/lite.py"),
    ],
)
def test_a_config_file_that_was_moved_is_found(parse, capsys, arguments, expected, file):
    assert tuple(parse(*arguments).values()) == expected
    old = file.replace("train/", "").replace("evaluate/", "")
    assert capsys.readouterr().err == f"NOTE: {old} does not exist. {file} is used instead.\n"


def test_a_config_file_that_is_there_is_taken(parse, capsys):
    assert parse("--config", "configs/mine.py")["folder"] == "configs"
    assert parse(default="configs/mine.py")["folder"] == "configs"
    assert parse("--config", "configs/train/base.py")["folder"] == "train"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("argument", ["--config=configs/base.py", "--config=configs/other.py"])
def test_a_config_file_that_is_nowhere_or_in_both_folders(parse, capsys, argument):
    with pytest.raises(SystemExit) as caught:
        parse(argument)
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("prog: ") and argument.partition("=")[2] in said and said.count("\n") == 1


def test_to_import_the_module_defines_no_flag():
    code = "from absl import flags; before = set(flags.FLAGS); import hmmn_jax.cli.launch; assert set(flags.FLAGS) == before"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


EMITTERS, LEVEL = "--xla_cpu_use_fusion_emitters=false", "--xla_backend_optimization_level=1"


@pytest.mark.parametrize(
    ("version", "quick", "plugins", "given", "expected"),
    [
        ("0.10.2", False, (), None, WAY_OUT),
        ("0.10.2", True, (), None, f"{WAY_OUT} {EMITTERS} {LEVEL}"),
        ("0.10.2", True, ("cuda",), "--xla_a=1", f"--xla_a=1 {WAY_OUT} {EMITTERS}"),  # LEVEL may also affect GPUs and TPUs
        ("0.10.2", True, ("libtpu",), None, f"{WAY_OUT} {EMITTERS}"),
        ("0.10.2", True, (), f"{WAY_OUT}x {LEVEL}3", f"{WAY_OUT}x {LEVEL}3 {EMITTERS}"),  # flags set by the user are kept
        ("0.11.0", True, (), None, f"{EMITTERS} {LEVEL}"),  # XLA aborts on unknown flags, so the flags depend on the release
        ("0.12.0", True, (), None, LEVEL),
        ("0.12.0.dev20270101", False, (), None, ""),
    ],
)
def test_compiler_flags_that_the_release_knows_are_set(monkeypatch, version, quick, plugins, given, expected):
    monkeypatch.setattr(launch.importlib.metadata, "version", {"jaxlib": version}.get)
    monkeypatch.setattr(launch.importlib.metadata, "entry_points", lambda group: {"jax_plugins": {"cuda"} & {*plugins}}[group])
    monkeypatch.setattr(launch.importlib.util, "find_spec", lambda name: name if name in plugins else None)
    monkeypatch.delenv("XLA_FLAGS")
    if given is not None:
        monkeypatch.setenv("XLA_FLAGS", given)
    launch.set_compiler_flags(quick)
    assert os.environ["XLA_FLAGS"] == expected


def test_flags_of_a_script_are_those_of_a_launch(monkeypatch):
    values, found = flags.FlagValues(), []
    monkeypatch.setattr(flags, "FLAGS", values)
    monkeypatch.setattr(flags, "disclaim_key_flags", lambda: None)
    for kind in ("bool", "string", "integer"):
        define = getattr(flags, f"DEFINE_{kind}")
        monkeypatch.setattr(flags, f"DEFINE_{kind}", functools.partial(define, flag_values=values))
    launch.define_launch_flags()
    values(["prog", "--distributed", "--processes=2", "--compilation_cache=c"])
    monkeypatch.setattr(launch, "launch", lambda **options: found.append(options))
    launch.launch_by_flags()
    assert found == [
        {"distributed": True, "coordinator": None, "processes": 2, "process": None}
        | {"initialization_timeout": 300, "heartbeat_timeout": 100, "compilation_cache": "c"},
    ]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--workdir", "RUN"], "RUN"),
        (["--workdir=RUN", "--config", "workdir"], "RUN"),
        (["-workdir=A", "-workdir", "B"], "B"),
        (["--workdir", "--takeover"], ""),
        (["--workdir"], ""),
        (["--workdirs=RUN", "workdir"], None),
    ],
)
def test_a_flag_before_flags_are_parsed(arguments, expected):
    assert launch.value_of("workdir", arguments) == expected
