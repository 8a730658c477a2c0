"""How the scripts start: several hosts, and compiled programs that are kept for the next run."""

from pathlib import Path

import jax
from absl import flags

from hmmn_jax.errors import ConfigError

DISTRIBUTED = flags.DEFINE_bool("distributed", False, "Several hosts, which find each other.")
COORDINATOR = flags.DEFINE_string("coordinator", None, "Several hosts: HOST:PORT of the first.")
PROCESSES = flags.DEFINE_integer("processes", None, "With --coordinator: how many processes there are.")
PROCESS = flags.DEFINE_integer("process", None, "With --coordinator: which of them this is, from 0.")
CACHE = flags.DEFINE_string("compilation_cache", None, "Folder that keeps compiled programs for the next run.")


def launch() -> None:
    """Does what these flags say; to be called before anything is computed. Raises ConfigError where hosts cannot meet."""
    if DISTRIBUTED.value or COORDINATOR.value is not None:
        try:
            jax.distributed.initialize(COORDINATOR.value, PROCESSES.value, PROCESS.value)
        except (ValueError, RuntimeError) as error:
            reason = " ".join(f"{error}".split())
            raise ConfigError(
                f"the hosts cannot meet ({reason}); outside of TPU pods and Slurm give each --coordinator HOST:PORT, "
                "--processes and --process"
            ) from error
    if CACHE.value is not None:
        jax.config.update("jax_compilation_cache_dir", str(Path(CACHE.value).absolute()))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)  # keep what compiles fast, too
