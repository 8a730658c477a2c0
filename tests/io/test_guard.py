"""Tests that only one process owns a folder.

Locks exclude processes on the same machine, and heartbeats exclude processes on other machines.
"""

import json
import os
import subprocess
import sys
import time

import pytest

from hmmn_jax.errors import ConfigError, DataError
from hmmn_jax.io import guard
from hmmn_jax.io.buckets import as_path
from hmmn_jax.io.guard import hold_folder, owner_path, read_owner, require_unheld

HERE = {"host": "here", "boot": "now", "pid": 1}
HOLD = """
import sys
from pathlib import Path
from hmmn_jax.io.guard import hold_folder
with hold_folder(Path("RUN"), Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def hold(folder, **options):
    return hold_folder(folder, folder / "lock", **options)


def leave(folder, age=0.0, **changes):
    """Writes the owner file of another process, whose last heartbeat was `age` seconds ago."""
    path = owner_path(folder / "lock")
    path.write_text(json.dumps({**guard.this_machine(), "pid": 4711, "id": "other", "time": time.time() - age} | changes))
    if isinstance(folder, type(as_path("/"))):
        (folder / "lock").touch()
        os.utime(path, (time.time() - age,) * 2)


def files(folder):
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def test_a_second_process_is_rejected_until_the_first_is_killed(tmp_path):
    lock = tmp_path / "record" / "lock"
    command = [sys.executable, "-c", HOLD, str(lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        before = files(lock.parent)
        for refusal in (lambda: require_unheld(lock.parent, lock), hold_folder(lock.parent, lock).__enter__):
            with pytest.raises(
                ConfigError, match=rf"record: the folder is in use by process {process.pid} on .*\. Wait .* --takeover"
            ):
                refusal()
        assert files(lock.parent) == before
        process.kill()
    assert owner_path(lock).is_file()
    require_unheld(lock.parent, lock)
    with hold_folder(lock.parent, lock):
        assert read_owner(owner_path(lock))["pid"] == os.getpid()
    assert not owner_path(lock).exists() and lock.is_file()


@pytest.mark.parametrize(
    "dead",
    [
        {"age": 0.0},  # an owner on this machine; the lock is free
        {"age": 0.0, "host": "container"},  # this machine (same boot id) under another name
        {"age": 70.0, "host": "elsewhere", "boot": "other"},
        {"age": 70.0, "boot": "before"},  # this machine before a reboot
    ],
)
def test_a_dead_owner_is_taken_over_at_once(tmp_path, monkeypatch, dead):
    monkeypatch.setattr(guard, "this_machine", lambda: HERE)
    leave(tmp_path, **dead)
    require_unheld(tmp_path, tmp_path / "lock")
    with hold(tmp_path):
        assert read_owner(owner_path(tmp_path / "lock"))["pid"] == 1


@pytest.mark.parametrize("living", [{"host": "elsewhere", "boot": "other"}, {"boot": "other"}])
def test_an_owner_that_lives_on_another_machine_is_respected(tmp_path, living):
    """Two machines may have the same name, so boot ids are compared instead of names."""
    leave(tmp_path, 10.0, **living)
    message = (
        r"process 4711 on .*, whose last heartbeat was 1\d s ago\. A process is considered dead after 60 s without a heartbeat"
    )
    with pytest.raises(ConfigError, match=message):
        require_unheld(tmp_path, tmp_path / "lock")
    with pytest.raises(ConfigError, match=message), hold(tmp_path):
        pass
    assert read_owner(owner_path(tmp_path / "lock"))["pid"] == 4711
    assert {path.name for path in tmp_path.iterdir()} == {".lock.json", "lock"}


def test_a_takeover_ends_the_writing_of_the_former_owner(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(guard, "BEAT", 0.01)
    with hold(tmp_path) as first:
        first.require()
        with hold(tmp_path, takeover=True) as second:
            assert capsys.readouterr().err.startswith(
                f"NOTE: {tmp_path}: the folder was taken over from process {os.getpid()} on "
            )
            deadline = time.monotonic() + 20
            while first._lost is None and time.monotonic() < deadline:
                time.sleep(0.01)
            with pytest.raises(ConfigError, match=r"was taken over by process .* This process no longer writes to the folder"):
                first.require()
            second.require()
            with pytest.raises(ConfigError, match="is in use"), hold(tmp_path):
                pass
            first.end()
            assert read_owner(owner_path(tmp_path / "lock"))["id"] == second.owner["id"]
    assert not owner_path(tmp_path / "lock").exists()


def test_an_owner_gives_heartbeats(tmp_path, monkeypatch):
    monkeypatch.setattr(guard, "BEAT", 0.01)
    path = owner_path(tmp_path / "lock")
    with hold(tmp_path):
        os.utime(path, (0, 0))
        deadline = time.monotonic() + 20
        while path.stat().st_mtime == 0:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_an_empty_file_as_a_power_failure_leaves_it(tmp_path):
    owner_path(tmp_path / "lock").write_bytes(b"\0" * 20)
    with hold(tmp_path):
        pass


@pytest.mark.parametrize("content", [b"\xff", b"[]", b'{"host": 1}', b'{"mine": 1}'])
def test_a_file_of_something_else_stays(tmp_path, content):
    owner_path(tmp_path / "lock").write_bytes(content)
    for takeover in (False, True):
        with (
            pytest.raises(DataError, match=r"was not written by this program\. Move it elsewhere"),
            hold(tmp_path, takeover=takeover),
        ):
            pass
    assert owner_path(tmp_path / "lock").read_bytes() == content


def test_a_file_of_the_lock_s_name_keeps_its_bytes(tmp_path):
    (tmp_path / "lock").write_text("the user's")
    with hold(tmp_path), pytest.raises(DataError, match="lock was not written by this program"), hold(tmp_path, takeover=True):
        pass
    assert (tmp_path / "lock").read_text() == "the user's"
    with pytest.raises(DataError, match="cannot be written"), hold(tmp_path / "lock"):
        pass


@pytest.mark.parametrize(("pid", "refused"), [(os.getppid(), True), (2**22 + 1, False)])
def test_a_file_system_without_locks(tmp_path, monkeypatch, pid, refused):
    """Without locks, an owner is considered dead if no process has its id, or if its last heartbeat is old."""
    monkeypatch.setattr(guard, "_try_lock", lambda file: None)
    leave(tmp_path, 10.0, pid=pid)
    if refused:
        with pytest.raises(ConfigError, match="is in use"), hold(tmp_path):
            pass
        leave(tmp_path, 70.0, pid=pid)
    with hold(tmp_path):
        pass


def test_a_folder_in_a_bucket(bucket, monkeypatch):
    monkeypatch.setattr(guard, "BEAT", 0.01)
    folder = as_path("gs://b/run")
    with hold(folder) as held:
        assert read_owner(owner_path(folder / "lock"))["id"] == held.owner["id"]
        leave(folder, host="elsewhere", boot="other")
        deadline = time.monotonic() + 20
        while held._lost is None and time.monotonic() < deadline:
            time.sleep(0.01)
        with pytest.raises(ConfigError, match="taken over by process 4711 on elsewhere"):
            held.require()
    with pytest.raises(ConfigError, match="is in use by process 4711 on elsewhere"), hold(folder):
        pass
    leave(folder, age=70.0, host="elsewhere", boot="other")
    with hold(folder):
        pass
    assert not owner_path(folder / "lock").exists()


def test_a_folder_is_given_back_before_the_process_is_ended(tmp_path):
    path = owner_path(tmp_path / "lock")
    with hold(tmp_path):
        guard.release_all()
        assert not path.exists()
        leave(tmp_path)  # another process becomes the owner before the block ends
    assert read_owner(path)["id"] == "other"
    guard.release_of(tmp_path / "lock", 4712)
    assert path.exists()
    guard.release_of(tmp_path / "lock", 4711)
    assert not path.exists()
