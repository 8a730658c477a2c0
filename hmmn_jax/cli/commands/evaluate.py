"""Segments the videos of a benchmark, writes the masks, and scores them (J and F) if annotations are available.

  hmmn-jax evaluate --benchmark davis2017_val --data DAVIS --output RUN
  hmmn-jax evaluate --benchmark davis2016_val --data DAVIS --output RUN --checkpoint HMMN_weights.pth --set mem_every=3
  hmmn-jax evaluate --benchmark youtube_vos_2019 --data YOUTUBE_VOS --output RUN
  hmmn-jax evaluate --benchmark custom --data ROOT --output RUN --set late_objects=true

Writes RUN/masks/SEQUENCE/FRAME.png, RUN/report.html, and the scores as summary.json, per_sequence.csv and per_frame.csv. For a
benchmark with a scoring server, also writes RUN/submission.zip. To resume an interrupted run, rerun the command.
"""

import argparse

from hmmn_jax.cli.arguments import anywhere, local, override
from hmmn_jax.cli.commands.common import (
    add_cache,
    add_exports,
    add_hosts,
    add_outputs,
    add_overrides,
    add_weights,
    start,
    weights,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add_benchmark(parser)
    output = add_outputs(parser)
    output.add_argument("--movie", choices=("mp4", "gif"), help="also write a movie of each video, with coloured objects")
    add_exports(output)
    add_weights(parser)
    add_overrides(parser)
    add_cache(parser)
    add_hosts(parser)


def add_benchmark(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that select the data to segment or score."""
    from hmmn_jax.evaluation.benchmarks import BENCHMARKS

    parser.add_argument("--benchmark", choices=BENCHMARKS, required=True, metavar="NAME", help="a benchmark listed below")
    parser.add_argument(
        "--data", type=anywhere, required=True, metavar="ROOT", help="root folder of the data, such as the DAVIS folder"
    )
    text = "local folder for copies of data in a bucket; later runs reuse the copies (default: a temporary folder)"
    parser.add_argument("--stage", type=local, metavar="DIR", help=text)
    lines = (f"  {name:<18} {(make.__doc__ or '').strip()}" for name, make in BENCHMARKS.items())
    parser.epilog = "\n".join(["benchmarks:", *lines])


def run(options: argparse.Namespace) -> None:
    """Evaluates a model on the benchmark that the options select."""
    from hmmn_jax.cli.request import Request
    from hmmn_jax.evaluation.benchmarks import benchmark_settings

    config = benchmark_settings(options.benchmark)
    override(config, options.assignments)
    model = weights(options)
    start(options, quick=False)  # most of the time is spent on frames, not on compilation
    from hmmn_jax.cli.evaluate import evaluate

    evaluate(
        Request(
            config,
            data=options.data,
            output=options.output,
            stage=options.stage,
            overlays=options.overlays,
            movie=options.movie,
            exports=options.export,
            overwrite=options.overwrite,
            takeover=options.takeover,
            **model,
        )
    )
