"""Set-up code shared by the scripts: flags, connections between hosts, and the cache of compiled programs."""

import importlib.metadata
import importlib.util
import os
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

from absl import flags

from hmmn_jax.cli.clusters import name_of_process, require_together, slurm_devices
from hmmn_jax.cli.program import INTERRUPTED, leave, tell
from hmmn_jax.cli.program_cache import keep_programs
from hmmn_jax.cli.together import together
from hmmn_jax.errors import ConfigError, HMMNError
from hmmn_jax.io import peers
from hmmn_jax.io.buckets import AnyPath
from hmmn_jax.io.files import local_path, shorten
from hmmn_jax.io.notes import note

HOSTS = ("distributed", "coordinator", "processes", "process", "initialization_timeout", "heartbeat_timeout")
OPTIONS = (*HOSTS, "compilation_cache")
CONFIG_FOLDERS = ("train", "evaluate")  # subfolders of `configs` since version 0.2


def define_launch_flags() -> None:
    """Defines the flags that `launch_by_flags` reads, as flags of the calling script."""
    flags.disclaim_key_flags()  # so that the script's --help lists the flags
    flags.DEFINE_bool("distributed", False, "Run on several hosts, which are connected automatically.")
    flags.DEFINE_string("coordinator", None, "Address HOST:PORT of the first process, if there are several hosts.")
    flags.DEFINE_integer("processes", None, "Number of processes, if --coordinator is set.")
    flags.DEFINE_integer("process", None, "Index of this process, starting at 0, if --coordinator is set.")
    flags.DEFINE_integer("initialization_timeout", 300, "Number of seconds to wait for all processes to connect.")
    flags.DEFINE_integer(
        "heartbeat_timeout", 100, "Number of seconds without a heartbeat after which a process is considered lost."
    )
    flags.DEFINE_string("compilation_cache", None, "Folder in which to cache compiled programs, or 'off' for no cache.")


def launch_by_flags() -> None:
    """Connects to the other hosts and sets up the compilation cache as the command-line flags specify; see `launch`."""
    given: dict[str, Any] = {name: flags.FLAGS[name].value for name in OPTIONS}
    launch(**given)


def run_by_flags(
    program: str, run: Callable[[], int | None], resume: str, folder: AnyPath | None = None, terminated: str = ""
) -> int:
    """Runs a program in one or several processes, as the command-line flags specify; see `run_in_processes`."""
    given: dict[str, Any] = {name: flags.FLAGS[name].value for name in HOSTS}
    return run_in_processes(program, run, resume, folder, given, terminated)


def run_in_processes(
    program: str,
    run: Callable[[], int | None],
    resume: str,
    folder: AnyPath | None,
    given: Mapping[str, Any],
    terminated: str = "",
) -> int:
    """Runs a program and returns its exit code. If there are several processes, an error in one process ends all processes.

    Args:
        program: name of the program.
        run: the body of the program. It must call `launch`.
        resume: the instruction to print after an interruption.
        folder: the folder for `error-PROCESS.txt`. In a multi-process run, each process writes this file to report why the
            process ended.
        given: the values of the flags in `HOSTS`.
        terminated: the reason to report if the process receives SIGTERM and has nothing to save.
    """
    several = given["distributed"] or given["coordinator"] is not None
    process = name_of_process(given["process"], os.environ) if several else None
    return together(program, resume, folder, process, terminated).run(run)


def launch(
    distributed: bool = False,
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
    initialization_timeout: int = 300,
    heartbeat_timeout: int = 100,
    compilation_cache: str | None = None,
) -> None:
    """Connects to the other hosts and sets up the compilation cache. Call this function before the first computation.

    Raises:
        ConfigError: the hosts cannot connect, or the hosts were started without the flags for connecting.
    """
    import jax  # not imported earlier, because importing JAX takes a second and invalid flags should be reported first

    together = distributed or coordinator is not None
    require_together(together, os.environ)
    if together:
        try:
            jax.distributed.initialize(
                coordinator,
                processes,
                process,
                slurm_devices(os.environ),
                initialization_timeout=initialization_timeout,
                heartbeat_timeout_seconds=heartbeat_timeout,
            )
        except (ValueError, RuntimeError) as error:
            raise ConfigError(
                f"the hosts cannot connect: {shorten(error)}. Outside of TPU pods and Slurm, pass --coordinator "
                "HOST:PORT, --processes and --process to each process."
            ) from error
        peers.met()
    keep_programs(compilation_cache, alone=not distributed and coordinator is None)


def set_compiler_flags(quick: bool) -> None:
    """Adds flags to the environment variable XLA_FLAGS, except flags that are already set.

    Call this function before importing JAX. One CPU fusion of jaxlib 0.10.2 computes wrong results (see
    `hmmn_jax.ops.canary`), so this fusion is disabled.

    Args:
        quick: whether to also set flags that reduce the compilation time of inference on a CPU. These flags disable fusion
            emitters and lower the optimization level. With these flags, frames take about 1.14 times as long with the published
            network, and equally long with hmmn-lite (`docs/results.md`). The flags are not suitable for training. Without
            fusion emitters, the training step took twice as long to compile. At the lower optimization level, gradients of
            depthwise convolutions are slower. The level may also affect GPUs and TPUs. Therefore, the level is not changed if
            JAX is installed with support for GPUs or TPUs.
    """
    given = os.environ.get("XLA_FLAGS", "")
    release = tuple(int(number) for number in re.findall(r"\d+", importlib.metadata.version("jaxlib"))[:3])
    flags = []  # XLA rejects unknown flags, and not every release has all of these flags
    if release == (0, 10, 2):
        flags.append("--xla_cpu_experimental_ynn_fusion_type=")
    if quick and release < (0, 11, 1):
        flags.append("--xla_cpu_use_fusion_emitters=false")
    if quick and not (importlib.metadata.entry_points(group="jax_plugins") or importlib.util.find_spec("libtpu")):
        flags.append("--xla_backend_optimization_level=1")
    missing = [flag for flag in flags if flag.partition("=")[0] not in given]
    os.environ["XLA_FLAGS"] = " ".join([given, *missing]).strip()


def flags_parser(
    name: str,
    config: flags.FlagHolder,
    check: Callable[[], None] | None = None,
    default: str = "",
    first: Callable[[list[str]], None] | None = None,
) -> Callable[[list[str]], list[str]]:
    """Returns a flag parser for `app.run` that reports an error on one line and exits with code 2.

    Args:
        name: name of the program.
        config: the flag that selects the config file.
        check: the function that is called after parsing and raises ConfigError if required flags are missing.
        default: the config file to use if none is specified. The flag itself has no default, because absl would read the
            default file while defining the flag, and an error in the file would cause a traceback.
        first: the function that is called with the arguments before they are parsed.
    """

    def parse(arguments: list[str]) -> list[str]:
        try:
            if first is not None:
                first(arguments[1:])
            given = {argument.lstrip("-").partition("=")[0] for argument in arguments[1:]}
            if default and config.name not in given:  # the config comes first, because it defines the flags of its fields
                arguments = [arguments[0], f"--{config.name}={default}", *arguments[1:]]
            rest = flags.FLAGS(_with_moved_config(arguments, config.name))
            if surplus := rest[1:]:
                raise ConfigError(f"unexpected argument {surplus[0]!r}, expected flags that begin with --")
            if config.value is not None and not hasattr(config.value, "lock"):  # `value` raises the config file's errors
                raise ConfigError(f"get_config of the config file returns {type(config.value).__name__}, expected a ConfigDict")
            if check is not None:
                check()
        except Exception as error:  # a config file can raise any error, for example for a missing field
            told = f"the config has no field {error}" if isinstance(error, KeyError) else " ".join(f"{error}".split())
            mistake = error if isinstance(error, HMMNError) else ConfigError(told or type(error).__name__)
            tell(name, mistake)
            sys.exit(mistake.exit_code)
        except KeyboardInterrupt:
            tell(name, HMMNError("the command was interrupted"))
            leave(INTERRUPTED)
        return rest

    return parse


def value_of(flag: str, arguments: list[str]) -> str | None:
    """Returns the value of a flag in unparsed arguments, "" if the flag has no value, or None if the flag is absent."""
    value = None
    for argument, following in zip(arguments, [*arguments[1:], "-"], strict=True):
        option, equals, given = argument.partition("=")
        if option in (f"-{flag}", f"--{flag}"):
            value = given if equals else "" if following.startswith("-") else following
    return value


def _with_moved_config(arguments: list[str], flag: str) -> list[str]:
    """Returns the arguments with the current path of the config file; see `_moved`."""
    arguments = list(arguments)
    for i, argument in enumerate(arguments):
        option, equals, value = argument.partition("=")
        if option not in (f"-{flag}", f"--{flag}"):
            continue
        if equals:
            arguments[i] = f"{option}={_moved(value)}"
        elif i + 1 < len(arguments):
            arguments[i + 1] = _moved(arguments[i + 1])
    return arguments


def _moved(config: str) -> str:
    """Returns `FILE` or `FILE:PARAMETER` with the current path.

    Prints a note if the file has moved to one of `CONFIG_FOLDERS`.
    """
    file, colon, parameter = config.partition(":")
    path = local_path(file)
    found = [place for folder in CONFIG_FOLDERS if (place := path.parent / folder / path.name).is_file()]
    if path.exists() or len(found) != 1:  # the path is ambiguous if both folders contain the file
        return config
    note(f"{path} does not exist. {found[0]} is used instead.")
    return f"{found[0]}{colon}{parameter}"
