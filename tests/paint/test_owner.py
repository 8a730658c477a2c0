"""One process has a project: on this machine by a lock, between machines by signs of life."""

import json
import os
import time

import pytest

from hmmn_jax.errors import ConfigError, DataError
from hmmn_jax.paint import owner
from hmmn_jax.paint.owner import own_folder


def write(folder, age, **changes):
    """What an owner left, `age` seconds after its last sign of life."""
    path = folder / ".owner.json"
    path.write_text(json.dumps({**owner._me(), "pid": 4711, **changes}))
    os.utime(path, (time.time() - age,) * 2)


def test_a_second_owner_on_this_machine_is_refused(tmp_path):
    with own_folder(tmp_path):
        with pytest.raises(ConfigError, match=rf"is open in process {os.getpid()}; close that"), own_folder(tmp_path):
            pass
        assert (tmp_path / ".owner.json").is_file()
    assert not (tmp_path / ".owner.json").exists()


@pytest.mark.parametrize(
    "dead",
    [
        {"age": 0.0},  # this machine, whose lock is free
        {"age": 0.0, "boot": "before"},  # this machine, started again
        {"age": 0.0, "host": "container"},  # this machine under another name
        {"age": 40.0, "host": "elsewhere", "boot": "other"},
    ],
)
def test_a_dead_owner_is_taken_over_at_once(tmp_path, monkeypatch, dead):
    monkeypatch.setattr(owner, "_me", lambda: {"host": "here", "boot": "now", "pid": 1})
    write(tmp_path, **dead)
    with own_folder(tmp_path):
        assert json.loads((tmp_path / ".owner.json").read_text())["pid"] == 1


def test_an_owner_that_lives_on_another_machine_is_respected(tmp_path):
    write(tmp_path, 10.0, host="elsewhere", boot="other")
    with pytest.raises(ConfigError, match="process 4711 on elsewhere; close that, or wait 30 seconds"), own_folder(tmp_path):
        pass
    assert json.loads((tmp_path / ".owner.json").read_text())["host"] == "elsewhere"
    assert {path.name for path in tmp_path.iterdir()} == {".owner.json", "lock"}


def test_an_owner_gives_signs_of_life(tmp_path, monkeypatch):
    monkeypatch.setattr(owner, "BEAT", 0.01)
    with own_folder(tmp_path):
        os.utime(tmp_path / ".owner.json", (0, 0))
        deadline = time.monotonic() + 20
        while (tmp_path / ".owner.json").stat().st_mtime == 0:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_an_empty_file_as_a_power_failure_leaves_it(tmp_path):
    (tmp_path / ".owner.json").touch()
    with own_folder(tmp_path):
        pass


@pytest.mark.parametrize("content", [b"\xff", b"[]", b'{"host": 1}', b'{"mine": 1}'])
def test_a_file_of_something_else_stays(tmp_path, content):
    (tmp_path / ".owner.json").write_bytes(content)
    with pytest.raises(DataError, match="not a file of hmmn-jax paint; move it"), own_folder(tmp_path):
        pass
    assert (tmp_path / ".owner.json").read_bytes() == content


def test_the_sign_of_who_took_over_stays(tmp_path):
    with own_folder(tmp_path):
        write(tmp_path, 0.0, host="elsewhere", boot="other")
    assert json.loads((tmp_path / ".owner.json").read_text())["host"] == "elsewhere"
