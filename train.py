"""Trains a model, or goes on with a run that was interrupted: run the same command again.

    python train.py --config configs/smoke.py --workdir RUN
    python train.py --config configs/main.py --config.init=RUN1 --workdir RUN2

Fields of the config are overridden like this: --config.batch=8. Several hosts: the same command on each, with --distributed
where the cluster tells them of each other (TPU pods, Slurm), else with --coordinator, --processes and --process.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import jax
from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

import hmmn_jax
from hmmn_jax.errors import ConfigError, HMMNError
from hmmn_jax.launch import launch
from hmmn_jax.layouts import Sequence, read_davis

try:
    from hmmn_jax.training.loop import train_and_evaluate
except ModuleNotFoundError as missing:
    print(f"train.py: {missing}; install what training needs: pip install '.[train,data]'", file=sys.stderr)
    sys.exit(ConfigError.exit_code)

CONFIG = config_flags.DEFINE_config_file("config", None, "The experiment, a file in configs/.")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of this run; one that exists is gone on with.")


def parse(arguments: list[str]) -> list[str]:
    """Parses the command line; a mistake in it, or in the config that it names, is told in one line."""
    try:
        rest = flags.FLAGS(arguments)
        if CONFIG.value is None or WORKDIR.value is None:
            raise ConfigError("give --config FILE, such as configs/smoke.py, and --workdir DIR")
        CONFIG.value.lock()
    except Exception as error:  # config files fail in any way, as by a field that they do not have
        stop(ConfigError(" ".join(f"{error}".split())))
    return rest


def validation_sequences(config: ConfigDict) -> list[Sequence]:
    """The annotated sequences that the config names. Raises DataError."""
    if not config.data:
        return []
    names = tuple(config.sequences) or None
    return read_davis(Path(config.data).expanduser(), config.year, config.split, config.resolution or None, names=names)


def run() -> None:
    """Does what the flags say."""
    logging.set_verbosity(logging.ERROR)  # Orbax tells of every thread, and warns of every checkpoint without a score
    config = CONFIG.value
    launch()

    def batches(first_step: int) -> Iterator[dict[str, Any]]:
        try:
            from data.clips import make_batches  # TensorFlow takes seconds to start; most mistakes are told before
        except ModuleNotFoundError as error:
            raise ConfigError(f"{error}; install what reads data sets: pip install '.[train,data]'") from error
        host, hosts = jax.process_index(), jax.process_count()
        return make_batches(config.data, batch=config.batch, first_step=first_step, host=host, hosts=hosts)

    sequences = validation_sequences(config.validation)
    state, summary = train_and_evaluate(config, WORKDIR.value, batches, sequences)
    if jax.process_index() == 0:
        done = "interrupted, saved; run the same command to go on" if summary.interrupted else "done"
        print(f"step {int(state.step)}: {done}; {WORKDIR.value} (hmmn-jax {hmmn_jax.__version__})")


def stop(error: HMMNError) -> NoReturn:
    """Says what is wrong, and ends the process."""
    print(f"train.py: {error}", file=sys.stderr)
    sys.exit(error.exit_code)


def main(_: list[str]) -> None:
    """Runs, and tells errors in one line."""
    try:
        run()
    except HMMNError as error:
        stop(error)


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
