"""Defines options that several commands share, and initialises JAX."""

import argparse
from typing import Any

from hmmn_jax.cli.arguments import anywhere, parse_list, parse_step
from hmmn_jax.io.bundled import DEFAULT_WEIGHTS, WEIGHTS


def add_weights(parser: argparse.ArgumentParser) -> None:
    """Adds the options that select the model."""
    group = parser.add_argument_group("model")
    names = ", ".join(WEIGHTS)
    add = group.add_argument
    add(
        "--checkpoint",
        type=anywhere,
        metavar="PATH",
        help=f"a bundled model ({names}), an output of 'hmmn-jax convert', the workdir of a training run, or a "
        f".safetensors or .pth file, local or in a bucket (gs://...) (default: {DEFAULT_WEIGHTS})",
    )
    add("--step", metavar="N", help="step of a training run, or 'best' for the best J&F in validation (default: latest step)")


def add_outputs(parser: argparse.ArgumentParser) -> Any:
    """Adds the options for outputs and returns their argument group."""
    group = parser.add_argument_group("output")
    add = group.add_argument
    add("--output", type=anywhere, metavar="DIR", required=True, help="folder to write to")
    add("--overlays", action="store_true", help="also write each frame with coloured objects, as a PNG")
    add("--overwrite", action="store_true", help="first delete the files that earlier runs wrote to --output")
    add_takeover(group)
    return group


def add_takeover(group: Any) -> None:
    """Adds the option to take over a folder from another process."""
    text = "take over the output or project folder, even if another process appears to be using the folder"
    group.add_argument("--takeover", action="store_true", help=text)


def add_exports(group: Any) -> None:
    """Adds the option to export masks in other formats."""
    text = (
        "also write the masks in any of these formats, comma-separated: davis, binary, rgba, coco, ytvis, mp4, gif (see "
        "'hmmn-jax export')"
    )
    group.add_argument("--export", type=parse_list, default=(), metavar="KINDS", help=text)


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """Adds the option to change any setting."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="assignments",
        metavar="NAME=VALUE",
        help="change a setting, such as mem_every=3; may be repeated. For an unknown NAME, the error lists the valid names",
    )


def add_cache(parser: argparse.ArgumentParser) -> None:
    """Adds the option for the compilation cache."""
    text = "folder in which to cache compiled programs, or 'off' for no cache (default: a folder in your cache folder)"
    parser.add_argument("--compilation-cache", "--compilation_cache", metavar="DIR", help=text)


def add_hosts(parser: argparse.ArgumentParser) -> None:
    """Adds the options to run the same command on several hosts."""
    add = parser.add_argument_group("several hosts").add_argument
    add("--distributed", action="store_true", help="connect the hosts automatically (on TPU pods and under Slurm)")
    add("--coordinator", metavar="HOST:PORT", help="address of the first process")
    add("--processes", type=int, metavar="N", help="number of processes, if --coordinator is set")
    add("--process", type=int, metavar="I", help="index of this process, starting at 0, if --coordinator is set")
    text = "seconds to wait for all processes to connect (default: %(default)s)"
    add("--initialization-timeout", type=int, default=300, metavar="S", help=text)
    text = "seconds without a heartbeat after which a process is considered lost (default: %(default)s)"
    add("--heartbeat-timeout", type=int, default=100, metavar="S", help=text)


def weights(options: argparse.Namespace) -> dict[str, Any]:
    """Returns the fields `checkpoint` and `step` of a `Request`. Prints which model is used if the user did not choose one."""
    if options.checkpoint is None:
        print(f"The bundled model {DEFAULT_WEIGHTS} is used. To choose another model, pass --checkpoint PATH.")
    checkpoint = anywhere(DEFAULT_WEIGHTS) if options.checkpoint is None else options.checkpoint
    return {"checkpoint": checkpoint, "step": parse_step(options.step)}


def start(options: argparse.Namespace | None = None, quick: bool = True) -> None:
    """Imports and initialises JAX. The import takes a second. See `set_compiler_flags` for `quick`."""
    from absl import logging

    from hmmn_jax.cli.launch import OPTIONS, launch, set_compiler_flags

    set_compiler_flags(quick)
    from hmmn_jax.inference.host_memory import keep_host_memory_small

    logging.set_verbosity(logging.ERROR)  # otherwise, Orbax logs a line for every thread
    keep_host_memory_small()
    launch(**{name: getattr(options, name) for name in OPTIONS if hasattr(options, name)})
