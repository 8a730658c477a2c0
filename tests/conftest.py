"""Set-up of all tests: the CPU, without a fusion of jaxlib that is known to be wrong, and run-time checks of shapes."""

import os
import tempfile

# See jax issues 39103 and 39257. test_canary.py tests the fusion that this flag switches off.
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_experimental_ynn_fusion_type="
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Tests spend most of their time compiling. Without optimisations, compilation takes half the time. The fixture `optimised`
# switches optimisations on.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "true")

# Tested commands use a different program cache from the user's.
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="hmmn-jax-tests-")

import jax
import pytest
from jaxtyping import install_import_hook

install_import_hook("hmmn_jax", "beartype.beartype")


# The slowest files run first, so that no core is idle at the end (`--dist loadfile --no-loadscope-reorder`).
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
    """Sorts slow files before the others."""
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))


@pytest.fixture
def x64():
    """Float64 for one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def optimised():
    """Programs compiled with all optimisations, for one test."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture
def bucket(monkeypatch):
    """An in-memory file system for `gs://`, for one test."""
    from tests.buckets import serving

    with serving(monkeypatch) as files:
        yield files
