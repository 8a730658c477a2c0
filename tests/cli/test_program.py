"""Tests the exit codes of commands, and the lines that they print at the end."""

import signal
import sys
import warnings

import pytest

from hmmn_jax.cli.program import Terminated, run_program
from hmmn_jax.errors import DataError, DivergedError, HMMNError, MismatchError, PartialFailure
from hmmn_jax.io.notes import note


@pytest.fixture(autouse=True)
def handlers():
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def ends(error):
    def body():
        raise error

    return run_program("prog", body, "Run it again to resume")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (DataError("x: no"), 2, "prog: x: no\n"),
        (MismatchError("x"), 2, "prog: x\n"),
        (PartialFailure("2 failed", ["a", "b"]), 1, "prog: 2 failed\n  a\n  b\n"),
        (DivergedError("x"), 3, "prog: x\n"),
        (KeyboardInterrupt(), 130, "prog: the command was interrupted. Run it again to resume\n"),
        (Terminated(), 143, "prog: the command was terminated. Run it again to resume\n"),
        (PermissionError(13, "Permission denied", "/x/y"), 2, "prog: /x/y: Permission denied\n"),
        (DataError("a\nb \udcff \x1b[31m"), 2, "prog: a\\nb \\udcff \\x1b[31m\n"),
    ],
)
def test_codes_and_lines(capsys, error, code, said):
    assert ends(error) == code
    assert capsys.readouterr().err == said


def test_what_goes_well():
    assert run_program("prog", lambda: None) == 0
    assert run_program("prog", lambda: 1) == 1


def test_sigterm_ends_as_ctrl_c_does(capsys):
    def body():
        signal.raise_signal(signal.SIGTERM)

    assert run_program("prog", body) == 143
    assert capsys.readouterr().err == "prog: the command was terminated\n"


def test_a_error_of_the_program_itself_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        run_program("prog", lambda: 1 / 0)


def test_details_are_ten_and_a_count():
    lines = str(HMMNError("bad", [f"detail {i}" for i in range(13)])).splitlines()
    assert lines[0] == "bad" and lines[1] == "  detail 0" and lines[10] == "  detail 9"
    assert lines[11:] == ["  ... and 3 more"]


def test_warnings_to_users_are_notes(capsys):
    def body():
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("mask.png: resized", stacklevel=1)

    assert run_program("prog", body) == 0
    assert capsys.readouterr().err == "NOTE: mask.png: resized\n"


def test_notes(capsys):
    note("a\nb")
    assert capsys.readouterr() == ("", "NOTE: a\\nb\n") and sys.stderr
