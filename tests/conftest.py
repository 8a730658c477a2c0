"""Set-up shared by all tests: the CPU, without a fusion of jaxlib that is known to go wrong, and shapes checked at run time."""

import os

# jax issues 39103 and 39257; test_canary.py watches what this switches off.
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_experimental_ynn_fusion_type="
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest
from jaxtyping import install_import_hook

install_import_hook("hmmn_jax", "beartype.beartype")


@pytest.fixture
def x64():
    """Float64 for one test."""
    with jax.enable_x64(True):
        yield
