"""Runs `train.py` with stubs in place of model, step and data, for tests with several processes.

python -m tests.training.stub_train FAULT --config configs/train/smoke.py --workdir RUN ...

FAULT is the part that fails in this process: step or data (at step `FAULT_STEP`), disk (at the first checkpoint), or none. The
loss of a step is the mean of the sample numbers in its batch.
"""

import errno
import os
import sys
import time
import types
from pathlib import Path

FAULT_STEP = 4
SECONDS = 0.05  # minimum duration of a step, in seconds


def fail_here(text):
    """Writes the time to the file named by the environment variable FAULT_FILE, and then raises an error."""
    if "FAULT_FILE" in os.environ:
        Path(os.environ["FAULT_FILE"]).write_text(str(time.time()))
    raise RuntimeError(text)


def batches(fault):
    """Returns a stub for `data.clips.make_batches`."""
    import numpy as np

    def make_batches(config, *, batch, first_step, host, hosts, **_):
        share = batch // hosts
        step = first_step
        while True:
            step += 1
            time.sleep(SECONDS)
            if fault == "data" and step == FAULT_STEP:
                fail_here("this clip cannot be read")
            samples = (step - 1) * batch + host * share + np.arange(share)
            empty = {name: np.zeros((share, 1), np.uint8) for name in ("frames", "masks", "valid")}
            yield empty | {"sample": samples}

    return make_batches


def replace_parts(fault):
    """Replaces the model, the step, the data and the check of disk space with stubs."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from hmmn_jax.training import checkpoint, loop, start
    from hmmn_jax.training.parallel import AXIS, Parallel
    from hmmn_jax.training.train_state import TrainState

    def make_step(*_, **__):
        def step(state, batch):
            mean = jax.lax.pmean(batch["sample"].astype(jnp.float32).mean(), AXIS)
            params = jax.tree.map(lambda x: x + mean, state.params)
            return state.replace(step=state.step + 1, params=params), {"loss": mean}

        return step

    def fresh(model, optimizer, config):
        params = {"encoder": {"kernel": jnp.zeros(3)}, "decoder": {"kernel": jnp.zeros(2)}}
        return TrainState.create({"params": params, "constants": {"mean": jnp.zeros(1)}}, optimizer, config.ema_decay > 0)

    compile_step, count = Parallel.compile, 0

    def compiled(parallel, step):
        run = compile_step(parallel, step)

        def counted(state, batch):
            nonlocal count
            count += 1
            if fault == "step" and count == FAULT_STEP:
                fail_here("the step failed")
            return run(state, batch)

        return counted

    def full(*_):
        if fault == "disk":
            try:
                fail_here("")
            except RuntimeError:
                raise OSError(errno.ENOSPC, "it takes 2 bytes, 1 is free") from None

    loop.make_step, start._fresh, Parallel.compile, checkpoint.require_space = make_step, fresh, compiled, full
    stub = types.ModuleType("data.clips")
    stub.make_batches = batches(fault)
    sys.modules["data.clips"] = stub
    return np


def main():
    """Runs `train.py` with the stubs."""
    import functools

    from absl import app

    import train

    fault = sys.argv.pop(1)
    run = train.run

    def stubbed(*arguments):
        replace_parts(fault)
        return run(*arguments)

    train.run = functools.wraps(run)(stubbed)
    app.run(train.main, flags_parser=train.PARSE)


if __name__ == "__main__":
    main()
