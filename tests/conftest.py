"""Configures all tests.

The tests run on the CPU, with run-time checks of shapes. A fusion in jaxlib that gives wrong results is switched off.
"""

import importlib.metadata
import os
import tempfile

# The first flag switches off a fusion that gives wrong results (jax issues 39103 and 39257; see test_canary.py). Without fusion
# emitters, compilation takes less time. `hmmn_jax.cli.launch.set_compiler_flags` sets the same flags. This function is not
# imported here, because the import hook below must be installed first.
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_experimental_ynn_fusion_type="
if tuple(map(int, importlib.metadata.version("jaxlib").split(".")[:3])) < (0, 11, 1):  # later releases do not have this flag
    os.environ["XLA_FLAGS"] += " --xla_cpu_use_fusion_emitters=false"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Tests spend most of their time compiling. Without optimisations, compilation takes half the time. The fixture `optimised`
# enables optimisations for one test.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "true")

# Commands under test do not use the program cache of the user.
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="hmmn-jax-tests-")

import jax
import pytest
from jaxtyping import install_import_hook

install_import_hook("hmmn_jax", "beartype.beartype")


# The slowest files run first, so that no core is idle at the end. This order requires `--dist loadfile --no-loadscope-reorder`.
LONG = (
    "test_parallel",
    "test_train",
    "test_loop",
    "test_parity",
    "test_segmenter",
    "test_segmenter_literal",
    "test_evaluate",
    "test_hmmn",
    "test_loop_hooks",
)


def pytest_collection_modifyitems(items):
    """Sorts the tests so that the files in `LONG` run first."""
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))


@pytest.fixture
def x64():
    """Enables float64 for one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def optimised():
    """Enables all compiler optimisations for one test."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture
def bucket(monkeypatch):
    """Yields an in-memory file system that serves `gs://` for one test."""
    from tests.buckets import serving

    with serving(monkeypatch) as files:
        yield files
