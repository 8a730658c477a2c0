"""Trains a model, or resumes an interrupted run: run the same command again.

    python train.py --config configs/train/smoke.py --workdir RUN
    python train.py --config configs/train/main.py --config.init=RUN1 --workdir RUN2

Change fields of the config like this: --config.batch=8. On several hosts, run the same command on each: on TPU pods and under
Slurm with --distributed, elsewhere with --coordinator, --processes and --process.
"""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from absl import app, flags, logging
from ml_collections import config_flags

import hmmn_jax
from hmmn_jax.cli.launch import define_launch_flags, flags_parser, launch_by_flags, run_by_flags, value_of
from hmmn_jax.cli.program import TERMINATED, leave
from hmmn_jax.errors import ConfigError
from hmmn_jax.io.buckets import absolute
from hmmn_jax.io.files import reason, shorten, user_path
from hmmn_jax.io.guard import RUN_LOCK, require_unheld
from hmmn_jax.io.stage import Stage

CONFIG = config_flags.DEFINE_config_file("config", None, "The experiment, a file in configs/train/.")
WORKDIR = flags.DEFINE_string("workdir", None, "Run directory. If it already contains a run, training resumes.")
TAKEOVER = flags.DEFINE_bool("takeover", False, "Take the workdir from a process that seems to be using it.")
STAGE = flags.DEFINE_string("stage", None, "Local folder to which data in a bucket is copied, for this run and later ones.")
define_launch_flags()
RESUME = "run the same command to resume from the last checkpoint"


def require_unused(arguments: list[str]) -> None:
    """Raises ConfigError if another run is writing to the workdir, before the config file imports JAX for seconds."""
    workdir = value_of("workdir", arguments)
    if workdir and value_of("takeover", arguments) is None:
        path = user_path(workdir, buckets=True)
        require_unheld(path, path / RUN_LOCK)


def check() -> None:
    """Raises ConfigError if a flag is missing, and DataError if the scheme of the workdir is not supported."""
    if CONFIG.value is None or not WORKDIR.value:
        raise ConfigError("pass --config FILE, such as configs/train/smoke.py, and --workdir DIR")
    user_path(WORKDIR.value, buckets=True)
    CONFIG.value.lock()


def run() -> int:
    """Trains as the flags specify; returns the exit code."""
    # Imported here because the imports take seconds. During this time, Ctrl-C must also end the program without a traceback.
    import jax

    try:
        from hmmn_jax.training.loop import train_and_evaluate
        from hmmn_jax.training.settings import require_settings
        from hmmn_jax.training.validation import find_validation
    except ImportError as missing:
        raise ConfigError(f"{reason(missing)}; install the packages for training: pip install '.[train,data]'") from missing
    logging.set_verbosity(logging.ERROR)  # Orbax logs every thread, and warns about every checkpoint without a score
    config = CONFIG.value
    require_settings(config)
    if config.deterministic:  # JAX reads this variable when it starts its backend
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_deterministic_ops=true"
    launch_by_flags()

    def batches(first_step: int) -> Iterator[dict[str, Any]]:
        try:
            from data.clips import make_batches  # TensorFlow takes seconds to start; most errors are reported before
        except ImportError as error:
            raise ConfigError(f"{reason(error)}; install the packages for data sets: pip install '.[train,data]'") from error
        host, hosts = jax.process_index(), jax.process_count()
        options = {"host": host, "hosts": hosts, "stage": stage if STAGE.value else None}
        return make_batches(config.data, batch=config.batch, first_step=first_step, **options)

    with Stage(user_path(STAGE.value) if STAGE.value else None) as stage, memory_errors():
        validation = find_validation(config.validation, stage)
        logged = {"max_skip": config.data.max_skip}
        state, result = train_and_evaluate(config, WORKDIR.value, batches, validation, logged, takeover=TAKEOVER.value)
    if jax.process_index() == 0:
        done = f"terminated, saved; {RESUME}" if result.interrupted else "done"
        print(f"step {int(state.step)}: {done}; {WORKDIR.value} (hmmn-jax {hmmn_jax.__version__})")
    return TERMINATED if result.interrupted else 0


@contextlib.contextmanager
def memory_errors() -> Iterator[None]:
    """Converts out-of-memory errors of a device or the host to a ConfigError."""
    import jax

    try:
        yield
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        way_out = "lower config.batch or config.data.size, raise config.micro_batches, or set config.model.remat=True"
        raise ConfigError(f"out of memory ({shorten(error)}); {way_out}") from error


def main(_: list[str]) -> None:
    """Runs training, and exits with its exit code."""
    leave(run_by_flags("train.py", run, RESUME, absolute(user_path(WORKDIR.value, buckets=True))))


PARSE = flags_parser("train.py", CONFIG, check, first=require_unused)

if __name__ == "__main__":
    app.run(main, flags_parser=PARSE)
