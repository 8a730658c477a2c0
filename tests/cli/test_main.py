"""Tests the help, the version and the errors of the command `hmmn-jax`."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from hmmn_jax.cli.commands import COMMANDS
from hmmn_jax.cli.main import main
from hmmn_jax.evaluation.benchmarks import BENCHMARKS
from hmmn_jax.version import __version__

ROOT = Path(__file__).parents[2]
SEGMENT = ("segment", "x.mp4", "--mask", "x.png", "--output", "r")
HEAVY = ("jax", "numpy", "flax", "PIL", "etils", "fsspec", "tqdm", "absl", "ml_collections", "orbax", "av")


def help_of(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        main([*arguments, "--help"])
    assert caught.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "may"),
    [
        (["--help"], ()),
        (["--version"], ()),
        (["segment", "--help"], ()),
        (["demo", "--help"], ()),
        (["convert", "--help"], ()),
        (["evaluate", "--help"], ("ml_collections", "absl")),  # needed for the list of benchmarks
    ],
)
def test_help_is_there_at_once(arguments, may):
    """The help does not import slow modules. `hmmn-jax --help` takes 0.06 s on one core, and should take less than 0.3 s."""
    code = f"""
import sys
from hmmn_jax.cli.main import main
try:
    main({arguments})
except SystemExit:
    print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-S", "-c", SITE + code], cwd=ROOT, capture_output=True, text=True)
    assert set(eval(done.stderr)) <= set(may), done.stderr
    assert done.stdout


# The tests use -S and explicit paths, because .pth files in site-packages may import other modules.
SITE = f"import sys; sys.path[:0] = {[str(ROOT), *(path for path in sys.path if 'packages' in path)]}\n"


def test_the_version(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"hmmn-jax {__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches_by_examples(capsys, command):
    assert COMMANDS[command] in " ".join(help_of(capsys).split())
    text = help_of(capsys, command)
    examples = re.findall(rf"^  hmmn-jax {command}\b", text, re.MULTILINE)
    assert len(examples) >= 2 and all(len(line) <= 128 for line in text.splitlines())


@pytest.mark.parametrize("command", ["evaluate", "score"])
def test_help_lists_the_benchmarks(capsys, command):
    text = help_of(capsys, command)
    assert all(re.search(rf"^  {name} +\S", text, re.MULTILINE) for name in BENCHMARKS)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "hmmn-jax: the following arguments are required: COMMAND. See hmmn-jax --help for the options."),
        (["frobnicate"], "invalid choice: 'frobnicate'"),
        (["segment", "clip.mp4"], "hmmn-jax segment: the following arguments are required: --output"),
        (
            ["segment", "clip.mp4", "--output", "r"],
            "--mask is missing. Pass a PNG with the ids of the objects in the first frame, or a folder",
        ),
        (
            ["segment", "clip.mp4", "--output", "r"],
            "To draw masks in the browser, run 'hmmn-jax paint clip.mp4'",
        ),
        (
            ["segment", "x.mp4", "--mask", "x.png", "--output", "r", "--size", "big"],
            "argument --size: invalid int value: 'big'",
        ),
        (["segment", "x.mp4", "--mask", "gs://b/x.png", "--output", "r"], "gs://b/x.png: the path is in a bucket"),
        (
            ["segment", "x.mp4", "--mask", "x.png", "--output", "r", "--set", "sice=3"],
            "--set sice=3: 'sice' is not a setting, expected",
        ),
        (
            ["segment", "x.mp4", "--mask", "x.png", "--output", "r", "--step", "last"],
            "--step is 'last', expected a number or 'best'",
        ),
        (["evaluate", "--data", "d", "--output", "r", "--benchmark", "davis"], "invalid choice: 'davis'"),
        (["convert", "from-torch", "x.pth"], "hmmn-jax convert: the following arguments are required: out"),
    ],
)
def test_a_error_is_one_line(capsys, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1 and err.startswith("hmmn-jax")
    assert not any(tmp_path.iterdir())


def test_a_file_that_is_not_there(capsys, tmp_path, monkeypatch):
    """Errors that occur during the conversion have the same format as errors in the arguments."""
    monkeypatch.chdir(tmp_path)
    assert main(["convert", "inspect", "x.pth"]) == 2
    assert capsys.readouterr().err.startswith("hmmn-jax convert: ") and not any(tmp_path.iterdir())
