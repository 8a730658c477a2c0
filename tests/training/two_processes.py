"""Saves and restores checkpoints in two processes. Each process runs this program with its number, 0 or 1.

python -m tests.training.two_processes WORKDIR PORT PROCESS

The state of step 3 is distributed as with `config.parallel = "jit"`: each array spans both processes. The state of step 5 is
distributed as with "pmap": each process has separate arrays.
"""

import sys
from pathlib import Path

import jax

from hmmn_jax.training.checkpoint import Checkpoints, restore_latest
from hmmn_jax.training.parallel import Parallel
from tests.training.test_checkpoint import assert_same, state_at


def main(workdir, port, process):
    """Saves two states in both processes, and restores the last state."""
    jax.distributed.initialize(f"localhost:{port}", 2, int(process), heartbeat_timeout_seconds=600)
    with Checkpoints(Path(workdir), keep=2, keep_best=1) as checkpoints:
        checkpoints.save(Parallel("jit", 2).replicate(state_at(3)), {"jf": 0.5})
        checkpoints.save(Parallel("pmap", 2).replicate(state_at(5)))
    assert_same(restore_latest(Path(workdir), state_at(0)), state_at(5))


if __name__ == "__main__":
    main(*sys.argv[1:])
