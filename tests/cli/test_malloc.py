"""Tests that commands restart with huge pages, and only where Linux and glibc support them."""

import json
import os
import subprocess
import sys

import pytest

from hmmn_jax.cli import malloc

PROGRAM = """
import json, os, sys
from hmmn_jax.cli.malloc import restart_with_huge_pages
if "first" not in os.environ:
    os.environ["first"] = str(os.getpid())
restart_with_huge_pages()
print(json.dumps([sys.argv, os.environ.get("GLIBC_TUNABLES"), os.environ["first"] == str(os.getpid())]))
"""


@pytest.fixture
def restarted(monkeypatch, tmp_path):
    """Makes the system one with huge pages, and returns the list to which a restart adds its arguments."""
    found = []
    monkeypatch.setattr(malloc.os, "execve", lambda *arguments: found.append(arguments))
    monkeypatch.setattr(malloc.platform, "libc_ver", lambda: ("glibc", "2.36"))
    monkeypatch.setattr(malloc, "_HUGE_PAGES_OF_KERNEL", tmp_path / "enabled")
    (tmp_path / "enabled").write_text("always [madvise] never\n")
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    return found


def test_the_command_is_restarted_with_the_same_arguments(restarted):
    malloc.restart_with_huge_pages()
    ((program, arguments, environment),) = restarted
    assert arguments == [sys.executable, *sys.orig_argv[1:]] and program == sys.executable
    assert environment == {**os.environ, "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}


@pytest.mark.parametrize("case", ["settings of the user", "another libc", "no huge pages", "no file", "no program"])
def test_otherwise_nothing_happens(restarted, monkeypatch, tmp_path, case):
    if case == "settings of the user":
        monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.check=3")
    elif case == "another libc":
        monkeypatch.setattr(malloc.platform, "libc_ver", lambda: ("", ""))
    elif case == "no huge pages":
        (tmp_path / "enabled").write_text("always madvise [never]\n")
    elif case == "no file":
        (tmp_path / "enabled").unlink()
    else:
        monkeypatch.setattr(malloc.sys, "executable", "")
    malloc.restart_with_huge_pages()
    assert restarted == []


def test_a_real_process_is_replaced_once(tmp_path):
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    environment = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    command = [sys.executable, str(script), "--flag", "a value", ""]
    told = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    arguments, tunables, same_process = json.loads(told)
    assert arguments == [str(script), "--flag", "a value", ""] and same_process
    assert tunables in (None, "glibc.malloc.hugetlb=1")  # None where the system does not support huge pages
