"""Set-up shared by all tests: the CPU, without a fusion of jaxlib that is known to go wrong, and shapes checked at run time."""

import os
import tempfile

# jax issues 39103 and 39257; test_canary.py watches what this switches off.
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_experimental_ynn_fusion_type="
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Compilation is most of the time of the tests, and takes half of it without optimisations. The fixture `optimised` has them.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "true")

# Commands that are tested keep their compiled programs elsewhere than those of the user.
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="hmmn-jax-tests-")

import jax
import pytest
from jaxtyping import install_import_hook

install_import_hook("hmmn_jax", "beartype.beartype")


# Longest first, so that no core waits for another at the end (`--dist loadfile --no-loadscope-reorder`).
LONG = ("test_parallel", "test_train", "test_loop", "test_parity", "test_segmenter", "test_evaluate", "test_hmmn")


def pytest_collection_modifyitems(items):
    """Puts the files that take long before the others."""
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))


@pytest.fixture
def x64():
    """Float64 for one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def optimised():
    """Programs compiled as users have them, for one test."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture
def bucket(monkeypatch):
    """The file system that serves `gs://` for one test, in memory."""
    from tests.buckets import serving

    with serving(monkeypatch) as files:
        yield files
