"""Tests the functions that measure the free memory of the machine and the peak memory of the process."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from hmmn_jax.io import host_memory
from tools.house import imported

ROOT = Path(__file__).parents[2]


def test_the_peak_is_what_was_held():
    before = host_memory.peak_megabytes()
    held = np.ones(2**28, np.uint8)  # writes 256 MB
    assert host_memory.peak_megabytes() >= 256 and held[0] and 10 < before < 10**6


def test_without_the_module_resource_as_on_windows(monkeypatch):
    monkeypatch.setitem(sys.modules, "resource", None)  # makes `import resource` raise an error
    spec = importlib.util.spec_from_file_location("host_memory_elsewhere", host_memory.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.resource is None and module.peak_megabytes() is None


def test_no_other_module_imports_resource():
    """A test in tests/test_house.py imports the modules without `resource`."""
    paths = [*(ROOT / "hmmn_jax").rglob("*.py"), *ROOT.glob("*.py")]
    found = {path.relative_to(ROOT).as_posix() for path in paths if "resource" in imported(path)}
    assert found == {"hmmn_jax/io/host_memory.py"}


@pytest.mark.parametrize(
    ("meminfo", "limit", "used", "free"),
    [
        ("MemTotal: 100 kB\nMemFree: 1 kB\nMemAvailable:   50 kB\n", None, None, 50 * 1024),
        ("MemAvailable: 50 kB\n", "30000\n", "10000\n", 20_000),
        ("MemAvailable: 50 kB\n", "30000\n", "40000\n", 0),
        ("MemAvailable: 50 kB\n", "max\n", "40000\n", 50 * 1024),
        ("MemAvailable: 50 kB\n", "9223372036854771712\n", "40000\n", 50 * 1024),
    ],
)
def test_free_memory(tmp_path, monkeypatch, meminfo, limit, used, free):
    for name, text in (("meminfo", meminfo), ("limit", limit), ("used", used)):
        if text is not None:
            (tmp_path / name).write_text(text)
    monkeypatch.setattr(host_memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(host_memory, "_CGROUPS", ((tmp_path / "limit", tmp_path / "used"),))
    assert host_memory.free_host_bytes() == free


def test_a_system_that_says_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(host_memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(host_memory, "_CGROUPS", ())
    monkeypatch.delattr(host_memory.os, "sysconf", raising=False)
    assert host_memory.free_host_bytes() is None
    (tmp_path / "meminfo").write_text("MemAvailable: much\n")
    assert host_memory.free_host_bytes() is None
