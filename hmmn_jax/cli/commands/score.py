"""Scores masks on disk according to the rules of a benchmark. J and F are defined as in the official DAVIS toolkit.

  hmmn-jax score PRED --benchmark davis2017_val --data DAVIS
  hmmn-jax score PRED --benchmark davis2016_val --data DAVIS --output RUN
  hmmn-jax score PRED --benchmark custom --data ROOT

PRED is a folder of masks SEQUENCE/FRAME.png from any method. The command prints a table. With --output, the command also
writes all scores (summary.json, per_sequence.csv, per_frame.csv) and report.html to RUN.
"""

import argparse

from hmmn_jax.cli.arguments import local, override
from hmmn_jax.cli.commands.common import add_overrides, add_takeover, start
from hmmn_jax.cli.commands.evaluate import add_benchmark


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    parser.add_argument("masks", type=local, metavar="PRED", help="folder with the masks SEQUENCE/FRAME.png")
    add_benchmark(parser)
    parser.add_argument(
        "--output", type=local, metavar="DIR", help="folder for the scores and the report (default: only print the table)"
    )
    add_takeover(parser)
    add_overrides(parser)


def run(options: argparse.Namespace) -> None:
    """Scores the masks and prints a table, as the options specify."""
    from hmmn_jax.cli.request import Request
    from hmmn_jax.evaluation.benchmarks import benchmark_settings

    config = benchmark_settings(options.benchmark)
    override(config, options.assignments)
    start()
    from hmmn_jax.cli.evaluate import evaluate

    evaluate(Request(config, data=options.data, score=options.masks, output=options.output, takeover=options.takeover))
