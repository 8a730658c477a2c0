"""Runs five training steps in float64. The program simulates DEVICES devices on a CPU.

    python -m tests.training.five_steps OUT DEVICES KIND ... [--sparing] [--coordinator HOST:PORT --process I --processes N]

A KIND is a value of `config.parallel`: jit or pmap. For each KIND, the program writes the final state, metrics of all steps,
information about the devices and the optimised program to the folder OUT. `--sparing` saves memory with two micro-batches and
rematerialisation.
"""

import argparse
import json
from pathlib import Path

import jax
import numpy as np
import optax

from hmmn_jax.training.optimizer import make_optimizer
from hmmn_jax.training.parallel import AXIS, Parallel
from hmmn_jax.training.schedules import learning_rate_schedule
from hmmn_jax.training.train_state import TrainState
from hmmn_jax.training.train_step import make_train_step
from tests import small

BATCH, STEPS, SIDE = 8, 5, 96  # SIDE: 6 x 6 positions at stride 16; top-k selects few of them
FRAMES = 2  # frames per clip; with three frames, a step takes twice as long to compile
EMA_DECAY = 0.75
CLIP_NORM = 0.25  # smaller than all gradient norms, so that every step clips
CONFIG = small.TINY


def batch(step):
    """Returns the global batch of a step in NumPy arrays."""
    first = step * BATCH
    frames = np.stack([small.video(FRAMES, SIDE, SIDE, seed) for seed in range(first, first + BATCH)])
    mask = small.rectangles((1,), SIDE, SIDE)
    masks = np.stack([np.stack([np.roll(mask, 4 * i * t, 1) for t in range(FRAMES)]) for i in range(BATCH)])
    return {"frames": frames, "masks": masks, "valid": np.ones((BATCH, 1), bool), "sample": np.arange(first, first + BATCH)}


def make_run(config=CONFIG, **options):
    """Returns the initial state and the training step."""
    schedule = learning_rate_schedule("poly", 1e-3, 100, warmup_steps=2)
    optimizer = optax.flatten(make_optimizer("adam", schedule, clip_norm=CLIP_NORM))  # a single vector compiles faster
    step = make_train_step(config, optimizer, schedule, seed=3, ema_decay=EMA_DECAY, **options)
    return TrainState.create(small.variables(CONFIG, "float64"), optimizer, ema=True), step


def flatten(state, metrics):
    """Returns all arrays of a state, and the metrics of all steps as arrays, by name."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    numbers = {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}
    return numbers | {name: np.array([float(step[name]) for step in metrics]) for name in metrics[0]}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("devices", type=int)
    parser.add_argument("kinds", nargs="+")
    parser.add_argument("--sparing", action="store_true")
    parser.add_argument("--coordinator")
    parser.add_argument("--process", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    args = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", args.devices)
    jax.config.update("jax_enable_x64", True)
    if args.coordinator:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        patience = {"initialization_timeout": 600, "heartbeat_timeout_seconds": 600}
        jax.distributed.initialize(args.coordinator, args.processes, args.process, **patience)
    micro_batches = 2 if args.sparing else 1
    for kind in args.kinds:
        parallel = Parallel(kind, BATCH, micro_batches)
        state, step = make_run(CONFIG.replace(remat=args.sparing), axis_name=AXIS, micro_batches=micro_batches)
        state, metrics = parallel.replicate(state), []
        mine = slice(args.process * parallel.local_batch_size, (args.process + 1) * parallel.local_batch_size)
        batches = [parallel.shard({name: value[mine] for name, value in batch(index).items()}) for index in range(STEPS)]
        step = parallel.compile(step).lower(state, batches[0]).compile()
        for one in batches:
            state, found = step(state, one)
            metrics.append(found)
        shards = jax.tree.map(lambda x: [np.asarray(shard.data) for shard in x.addressable_shards], state)
        same = jax.tree.map(
            lambda x: all(np.array_equal(shard, x[0]) for shard in x), shards, is_leaf=lambda x: isinstance(x, list)
        )
        facts = {
            "devices": len(state.step.sharding.device_set),
            "copies": len(state.step.addressable_shards),
            "same": all(jax.tree.leaves(same)),
        }
        name = f"{kind}-{args.process}"
        np.savez(args.out / f"{name}.npz", **flatten(state, metrics))
        (args.out / f"{name}.json").write_text(json.dumps(facts))
        (args.out / f"{name}.hlo").write_text(step.as_text())


if __name__ == "__main__":
    main()
