"""Options that several commands share, and initialisation of JAX."""

import argparse
from typing import Any

from hmmn_jax.cli.arguments import anywhere, parse_list, parse_step
from hmmn_jax.io.bundled import DEFAULT_WEIGHTS, WEIGHTS


def add_weights(parser: argparse.ArgumentParser) -> None:
    """Options that select the model."""
    group = parser.add_argument_group("model")
    names = ", ".join(WEIGHTS)
    add = group.add_argument
    add(
        "--checkpoint",
        type=anywhere,
        metavar="PATH",
        help=f"a bundled model ({names}), an output of 'hmmn-jax convert', the workdir of a training run, or one "
        f".safetensors or .pth file; local or gs://... (default: {DEFAULT_WEIGHTS})",
    )
    add("--step", metavar="N", help="step of a workdir, or 'best' by J&F in validation (default: the latest step)")


def add_outputs(parser: argparse.ArgumentParser) -> Any:
    """Options for outputs other than masks; returns their argument group."""
    group = parser.add_argument_group("output")
    add = group.add_argument
    add("--output", type=anywhere, metavar="DIR", required=True, help="folder to write to")
    add("--overlays", action="store_true", help="also write each frame with its masks as a PNG")
    add("--overwrite", action="store_true", help="first delete the files that earlier runs wrote to --output; keep other files")
    add_takeover(group)
    return group


def add_takeover(group: Any) -> None:
    """The option to take over a folder from another process."""
    group.add_argument(
        "--takeover", action="store_true", help="take over the folder from a process that appears to be using it"
    )


def add_exports(group: Any) -> None:
    """The option to export masks in other formats."""
    text = "also write the masks as davis, binary, rgba, coco, ytvis, mp4, gif (see 'hmmn-jax export'), separated by commas"
    group.add_argument("--export", type=parse_list, default=(), metavar="KINDS", help=text)


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """The option to change any setting."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="assignments",
        metavar="NAME=VALUE",
        help="change a setting, such as mem_every=3; may be repeated. An unknown NAME lists the valid ones",
    )


def add_cache(parser: argparse.ArgumentParser) -> None:
    """The option for the compilation cache."""
    text = "folder in which compiled programs are cached for later runs; off: no cache (default: in your cache folder)"
    parser.add_argument("--compilation-cache", "--compilation_cache", metavar="DIR", help=text)


def add_hosts(parser: argparse.ArgumentParser) -> None:
    """Options for several hosts. Start the same command on each host."""
    add = parser.add_argument_group("several hosts").add_argument
    add("--distributed", action="store_true", help="they find each other: TPU pods, Slurm")
    add("--coordinator", metavar="HOST:PORT", help="the first of them")
    add("--processes", type=int, metavar="N", help="with --coordinator: number of processes")
    add("--process", type=int, metavar="I", help="with --coordinator: index of this process, from 0")
    text = "seconds to wait for all processes at the start (default: %(default)s)"
    add("--initialization-timeout", type=int, default=300, metavar="S", help=text)
    text = "seconds without a heartbeat after which a process is considered lost (default: %(default)s)"
    add("--heartbeat-timeout", type=int, default=100, metavar="S", help=text)


def weights(options: argparse.Namespace) -> dict[str, Any]:
    """Checkpoint and step for a request. Prints which model is used if the user did not choose one."""
    if options.checkpoint is None:
        print(f"model: {DEFAULT_WEIGHTS} (bundled); use --checkpoint PATH to choose another")
    checkpoint = anywhere(DEFAULT_WEIGHTS) if options.checkpoint is None else options.checkpoint
    return {"checkpoint": checkpoint, "step": parse_step(options.step)}


def start(options: argparse.Namespace | None = None) -> None:
    """Initialises JAX, whose import takes a second."""
    from absl import logging

    from hmmn_jax.cli.launch import OPTIONS, launch, switch_off_unsound_fusion

    switch_off_unsound_fusion()
    from hmmn_jax.inference.host_memory import keep_host_memory_small

    logging.set_verbosity(logging.ERROR)  # Orbax logs a line for every thread
    keep_host_memory_small()
    launch(**{name: getattr(options, name) for name in OPTIONS if hasattr(options, name)})
