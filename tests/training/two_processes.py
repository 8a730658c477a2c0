"""One of two processes that save states together: python -m tests.training.two_processes WORKDIR PORT PROCESS.

Step 3 is as with `config.parallel = "jit"` (one array for both processes), step 5 as with "pmap" (an array in each).
"""

import sys
from pathlib import Path

import jax

from hmmn_jax.training.checkpoint import Checkpoints, restore_latest
from hmmn_jax.training.parallel import Parallel
from tests.training.test_checkpoint import assert_same, state_at


def main(workdir, port, process):
    """Saves, and restores what both processes saved."""
    jax.distributed.initialize(f"localhost:{port}", 2, int(process), heartbeat_timeout_seconds=600)
    with Checkpoints(Path(workdir), keep=2, keep_best=1) as checkpoints:
        checkpoints.save(Parallel("jit", 2).replicate(state_at(3)), {"jf": 0.5})
        checkpoints.save(Parallel("pmap", 2).replicate(state_at(5)))
    assert_same(restore_latest(Path(workdir), state_at(0)), state_at(5))


if __name__ == "__main__":
    main(*sys.argv[1:])
