"""Tests the configuration of host memory. Each test runs in a new process, because the configuration cannot be undone."""

import subprocess
import sys

SCRIPT = """
import gc
import jax, jax.numpy as jnp, numpy as np
from hmmn_jax.inference.host_memory import keep_host_memory_small

compiled = []
keep_host_memory_small()
jax.monitoring.register_event_duration_secs_listener(lambda event, *_, **__: compiled.append(event))

@jax.jit
def double(x):
    return 2 * x

arrays = [jnp.ones(n) for n in range(1, 5)]
for x in arrays:
    double(x).block_until_ready()
gc.collect()
modules = sum(type(x).__name__ == "Module" and "mlir" in type(x).__module__ for x in gc.get_objects())
compiled.clear()
assert all((np.asarray(double(x)) == 2).all() for x in arrays)
print(modules, sum("backend_compile" in event for event in compiled))
"""


def test_modules_of_compiled_programs_are_dropped_and_programs_are_not_compiled_again():
    """Fails if a version of JAX stores the StableHLO modules in other caches; see `_LOWERED` in `host_memory.py`."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    modules, compilations = map(int, done.stdout.split())
    assert modules <= 1 and compilations == 0
