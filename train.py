"""Trains a model. To resume an interrupted run, run the same command again.

    python train.py --config configs/train/smoke.py --workdir RUN
    python train.py --config configs/train/main.py --config.init=RUN1 --workdir RUN2

To change a field of the config, pass, for example, --config.batch=8. To train on several hosts, start this program on each
host. On TPU pods and under Slurm, pass --distributed. Elsewhere, pass --coordinator, --processes and --process.
"""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from absl import app, flags, logging
from ml_collections import config_flags

import hmmn_jax
from hmmn_jax.cli.launch import define_launch_flags, flags_parser, launch_by_flags, run_by_flags, set_compiler_flags, value_of
from hmmn_jax.cli.program import TERMINATED, leave
from hmmn_jax.errors import ConfigError
from hmmn_jax.io.buckets import absolute
from hmmn_jax.io.files import reason, shorten, user_path
from hmmn_jax.io.guard import RUN_LOCK, require_unheld
from hmmn_jax.io.stage import Stage

CONFIG = config_flags.DEFINE_config_file("config", None, "Config file of the experiment, such as configs/train/main.py.")
WORKDIR = flags.DEFINE_string("workdir", None, "Run directory. If the directory already contains a run, training resumes.")
TAKEOVER = flags.DEFINE_bool("takeover", False, "Take over the workdir from a process that appears to be using it.")
STAGE = flags.DEFINE_string("stage", None, "Local folder to which data in a bucket is copied. Later runs reuse the copies.")
define_launch_flags()
RESUME = "Run the same command to resume from the last checkpoint"


def require_unused(arguments: list[str]) -> None:
    """Raises ConfigError if another run is writing to the workdir.

    The check runs before the config file is loaded, because loading the file imports JAX and takes seconds.
    """
    workdir = value_of("workdir", arguments)
    if workdir and value_of("takeover", arguments) is None:
        path = user_path(workdir, buckets=True)
        require_unheld(path, path / RUN_LOCK)


def check() -> None:
    """Raises ConfigError if a flag is missing, and DataError if the URL scheme of the workdir is not supported."""
    if CONFIG.value is None or not WORKDIR.value:
        raise ConfigError("pass --config FILE, such as configs/train/smoke.py, and --workdir DIR")
    user_path(WORKDIR.value, buckets=True)
    CONFIG.value.lock()


def run() -> int:
    """Trains a model with the settings that the flags specify. Returns the exit code."""
    # The imports take seconds. They are inside the function, so that Ctrl-C during the imports does not print a traceback.
    import jax

    try:
        from hmmn_jax.training.loop import train_and_evaluate
        from hmmn_jax.training.settings import require_settings
        from hmmn_jax.training.validation import find_validation
    except ImportError as missing:
        raise ConfigError(f"{reason(missing)}. Install the packages for training: pip install '.[train,data]'") from missing
    logging.set_verbosity(logging.ERROR)  # Orbax logs a line for every thread and warns about every checkpoint without a score
    config = CONFIG.value
    require_settings(config)
    if config.deterministic:  # JAX reads XLA_FLAGS when it initializes its backend
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_deterministic_ops=true"
    launch_by_flags()

    def batches(first_step: int) -> Iterator[dict[str, Any]]:
        try:
            from data.clips import make_batches  # imported late, because importing TensorFlow takes seconds
        except ImportError as error:
            raise ConfigError(f"{reason(error)}. Install the packages for data sets: pip install '.[train,data]'") from error
        host, hosts = jax.process_index(), jax.process_count()
        options = {"host": host, "hosts": hosts, "stage": stage if STAGE.value else None}
        return make_batches(config.data, batch=config.batch, first_step=first_step, **options)

    with Stage(user_path(STAGE.value) if STAGE.value else None) as stage, memory_errors():
        validation = find_validation(config.validation, stage)
        logged = {"max_skip": config.data.max_skip}
        state, result = train_and_evaluate(config, WORKDIR.value, batches, validation, logged, takeover=TAKEOVER.value)
    if jax.process_index() == 0:
        done = f"the run was terminated, and its state was saved. {RESUME}" if result.interrupted else "done"
        print(f"step {int(state.step)}: {done}. The workdir is {WORKDIR.value} (hmmn-jax {hmmn_jax.__version__}).")
    return TERMINATED if result.interrupted else 0


@contextlib.contextmanager
def memory_errors() -> Iterator[None]:
    """Converts an out-of-memory error on a device or on the host to a ConfigError."""
    import jax

    try:
        yield
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        way_out = "Lower config.batch or config.data.size, raise config.micro_batches, or set config.model.remat=True."
        raise ConfigError(f"training ran out of memory ({shorten(error)}). {way_out}") from error


def main(_: list[str]) -> None:
    """Runs the training and exits with its exit code."""
    leave(run_by_flags("train.py", run, RESUME, absolute(user_path(WORKDIR.value, buckets=True))))


PARSE = flags_parser("train.py", CONFIG, check, first=require_unused)

if __name__ == "__main__":
    set_compiler_flags(quick=False)
    app.run(main, flags_parser=PARSE)
