"""Trains a tiny model on generated clips. Tests start this script to kill it, or to train in several processes:

python -m tests.training.tiny_run WORKDIR INIT CACHE STEPS EVERY [PORT PROCESSES PROCESS]

A checkpoint is written after every EVERY steps. INIT is the initial checkpoint, or "" for random variables.
"""

import itertools
import sys
import time
from pathlib import Path

import jax
import numpy as np

from configs.train import base as training
from configs.train import data
from hmmn_jax.training.loop import train_and_evaluate
from tests import small

MODEL = small.TINY.replace(use_topk_read=False)
SIDE, OBJECTS = 32, 2
FRAMES = 2  # frames per clip; with three frames, a step takes twice as long to compile


def tiny_config(steps=8, batch=2):
    """Returns a config with Adam, a moving average of the parameters, and a checkpoint after every second step."""
    config = training.base()
    config.model.update(MODEL.to_dict())
    config.data = data.clips()
    config.data.frames = FRAMES
    config.data.max_skip = ((0, 1), (4 * batch, 5))
    config.batch, config.samples = batch, steps * batch
    config.learning_rate.peak = 1e-3
    config.learning_rate.schedule = "cosine"
    config.ema_decay = 0.9
    config.log_every = 2 * batch
    config.checkpoint.every = 2 * batch
    return config.lock()


def tiny_batch(step, batch=2, process=0, processes=1):
    """Returns the shard of batch `step` for one process. Clips are rectangles on noise, seeded by the sample numbers."""
    clips = [_clip(step * batch + i) for i in range(batch)][process * batch // processes : (process + 1) * batch // processes]
    return {name: np.stack([clip[name] for clip in clips]) for name in clips[0]}


def _clip(sample):
    rng = np.random.default_rng(sample)
    frames = rng.integers(0, 256, (FRAMES, SIDE, SIDE, 3), np.uint8)
    masks = np.zeros((FRAMES, SIDE, SIDE), np.uint8)
    for t in range(FRAMES):
        for k in range(OBJECTS):
            top, left = rng.integers(0, SIDE // 2, 2)
            masks[t, top : top + 10, left : left + 12] = k + 1
    frames[masks > 0] //= 2
    return {
        "frames": frames,
        "masks": masks,
        "valid": np.ones(OBJECTS, bool),
        "sample": np.int64(sample),
        "names": np.bytes_(f"clip {sample}"),
    }


def use_cache(folder):
    """Caches compiled programs in a folder, so that later runs do not compile them again."""
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


def main(workdir, init, cache, steps, every, port=None, processes=1, process=0):
    """Trains with the arguments of the script. Each step takes at least 50 ms, so that a test has time to kill the run."""
    use_cache(cache)
    processes, process = int(processes), int(process)
    config = tiny_config(int(steps))
    config.init, config.checkpoint.every = init, int(every) * config.batch
    if port is not None:
        jax.distributed.initialize(f"localhost:{port}", processes, process, heartbeat_timeout_seconds=600)
        config.parallel = "jit"

    def batches(first_step):
        for step in itertools.count(first_step):
            time.sleep(0.05)
            yield tiny_batch(step, config.batch, process, processes)

    train_and_evaluate(config, Path(workdir), batches, logged={"max_skip": config.data.max_skip})


if __name__ == "__main__":
    main(*sys.argv[1:])
