"""Tests that only `key_value` uses private modules of JAX, and that the names it uses still exist."""

import socket
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from hmmn_jax.errors import HMMNError
from hmmn_jax.io import key_value

ROOT = Path(__file__).parents[2]
MEND = f"JAX {jax.__version__} changed what hmmn_jax/io/key_value.py uses (nothing else has to change)"
PROGRAM = """
import sys, jax
from hmmn_jax.io import key_value
assert key_value.client() is None
jax.distributed.initialize(f"localhost:{sys.argv[1]}", 1, 0)
client = key_value.client()
client.key_value_set("a", "text")
try:
    client.key_value_set("a", "other")
except Exception:
    print("kept")
print(client.blocking_key_value_get("a", 1000), key_value.index(), key_value.count())
try:
    client.blocking_key_value_get("b", 10)
except Exception as error:
    print("DEADLINE_EXCEEDED" in str(error))
jax.distributed.shutdown()
"""


def test_what_is_used_of_the_private_module_exists():
    try:
        from jax._src.distributed import global_state
        from jax._src.lib import _jax
    except ImportError as error:
        pytest.fail(f"{MEND}: {error}")
    gone = [name for name in key_value.ATTRIBUTES if not hasattr(global_state, name)]
    gone += [name for name in key_value.METHODS if not hasattr(_jax.DistributedRuntimeClient, name)]
    assert not gone, f"{MEND}: {', '.join(gone)} is gone"


def test_the_store_keeps_the_first_text_and_a_request_for_none_ends():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(port)], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == ["kept", "text", "0", "1", "True"], f"{MEND}: {done.stdout}{done.stderr}"


def test_only_one_other_file_uses_private_modules_of_jax():
    found = [path for path in (ROOT / "hmmn_jax").rglob("*.py") if "jax._src" in path.read_text(encoding="utf-8")]
    files = sorted(path.relative_to(ROOT).as_posix() for path in found)
    assert files == ["hmmn_jax/inference/host_memory.py", "hmmn_jax/io/key_value.py"]


def test_a_release_without_it_runs_in_one_process_and_says_what_is_missing_in_several(monkeypatch):
    monkeypatch.setitem(sys.modules, "jax._src.distributed", None)
    assert key_value.client() is None
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    with pytest.raises(HMMNError, match=r"JAX .* has no jax._src.distributed.global_state.client, which a run with several"):
        key_value.client()
