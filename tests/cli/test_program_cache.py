"""Tests the cache of compiled programs. Programs that other users compiled are never executed."""

import os
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax.experimental.compilation_cache import compilation_cache

from hmmn_jax.cli.program_cache import keep_programs
from hmmn_jax.io import program_folder
from hmmn_jax.io.program_folder import own_folder

NAMES = ("jax_compilation_cache_dir", "jax_compilation_cache_max_size", "jax_persistent_cache_min_compile_time_secs")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Sets a new cache folder for the user, and switches off the cache of JAX. Yields the folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    before = {name: getattr(jax.config, name) for name in NAMES}
    jax.config.update("jax_compilation_cache_dir", None)
    compilation_cache.reset_cache()
    yield tmp_path / "cache"
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def programs(folder):
    return sorted(path for path in Path(folder).iterdir() if path.name.endswith("-cache"))


def compile_once():
    """Runs a small program. JAX compiles the program, or reads it from the cache. Returns the result, a float."""
    jax.clear_caches()
    compilation_cache.reset_cache()
    return float(jax.jit(lambda x: (3 * x + 1).sum())(jnp.arange(5.0)))


def test_programs_are_kept_in_the_users_cache_folder(home):
    keep_programs(None, alone=True)
    folder = Path(jax.config.jax_compilation_cache_dir)
    assert folder.parent == home / "hmmn-jax/programs"
    assert all(path.stat().st_mode & 0o777 == 0o700 for path in (folder, folder.parent))
    assert compile_once() == 35
    kept = {path: path.read_bytes() for path in programs(folder)}
    assert kept
    assert compile_once() == 35
    assert {path: path.read_bytes() for path in programs(folder)} == kept


@pytest.mark.filterwarnings("ignore:Error reading persistent compilation cache")
@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[: len(data) // 2], lambda data: b"\x00" * len(data)])
def test_damaged_programs_are_compiled_again(damage):
    keep_programs(None, alone=True)
    compile_once()
    for path in programs(jax.config.jax_compilation_cache_dir):
        path.write_bytes(damage(path.read_bytes()))
    assert compile_once() == 35


@pytest.mark.parametrize("place", ["hmmn-jax", "hmmn-jax/programs", "KEY"])
@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777])
def test_a_folder_that_others_can_write_to_is_rejected(home, capsys, place, mode):
    folder = own_folder()
    folder = folder if place == "KEY" else home / place
    folder.chmod(mode)
    keep_programs(None, alone=True)
    assert jax.config.jax_compilation_cache_dir is None
    said = capsys.readouterr().err
    assert said.startswith(f"NOTE: {folder}: other users can write to the folder (mode {mode:o})") and said.count("\n") == 1


def test_a_folder_of_another_user_is_rejected(home, capsys, monkeypatch):
    own_folder()
    mine = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: mine + 1)
    assert own_folder() is None
    assert f"{home / 'hmmn-jax'}: the folder belongs to user {mine}, not to user {mine + 1}" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made(home, capsys):
    home.write_text("a file")
    keep_programs(None, alone=True)
    assert jax.config.jax_compilation_cache_dir is None
    assert "Compiled programs are not cached" in capsys.readouterr().err


def test_other_choices(home, tmp_path, monkeypatch):
    keep_programs(None, alone=False)  # by default, runs with several processes have no cache
    assert jax.config.jax_compilation_cache_dir is None
    with monkeypatch.context() as patch:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", "chosen")  # JAX itself reads this variable
        keep_programs(None, alone=True)
    assert jax.config.jax_compilation_cache_dir is None
    keep_programs(str(tmp_path / "other"), alone=False)
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "other")
    keep_programs("off", alone=True)
    assert jax.config.jax_compilation_cache_dir is None
    assert not home.exists()


def test_the_folder_depends_on_versions_and_processor(monkeypatch):
    before = own_folder()
    assert own_folder() == before
    monkeypatch.setattr(program_folder.importlib.metadata, "version", lambda name: "99")
    other = own_folder()
    assert other != before
    monkeypatch.setattr(program_folder.platform, "machine", lambda: "abacus")
    assert own_folder() not in (before, other)


def test_programs_of_other_versions_are_deleted_when_they_are_not_used(home):
    folder = own_folder()
    old, mixed, recent, foreign = (folder.parent / name for name in ("0" * 16, "2" * 16, "1" * 16, "my-old-backup-01"))
    for path in (old, mixed, recent, foreign):
        path.mkdir()
        for name in ("program-cache", "program-atime", ".lockfile"):
            (path / name).touch()
    (mixed / "notes.txt").write_text("a user's")
    month_ago = time.time() - 31 * 24 * 3600
    for path in (old, mixed, foreign):
        os.utime(path, (month_ago, month_ago))
    own_folder()
    assert not old.exists() and recent.exists() and folder.exists()
    assert [path.name for path in mixed.iterdir()] == ["notes.txt"]
    assert len(list(foreign.iterdir())) == 3
