"""Segments the bundled clip, which has 40 frames of two koi. One koi swims under the other.

  hmmn-jax demo
  hmmn-jax demo --output OUT --checkpoint HMMN_weights.pth

Writes masks, frames with coloured objects, a GIF, scores and report.html to --output. Each run segments the clip again.
"""

import argparse

from hmmn_jax.cli.arguments import local
from hmmn_jax.cli.commands.common import add_cache, add_takeover, add_weights, start, weights

OUTPUT = "runs/demo"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    parser.add_argument("--output", type=local, default=OUTPUT, metavar="DIR", help="folder to write to (default: %(default)s)")
    add_takeover(parser)
    add_weights(parser)
    add_cache(parser)


def run(options: argparse.Namespace) -> None:
    """Segments the bundled clip, and prints an example of `hmmn-jax segment`."""
    from hmmn_jax.cli.request import Request
    from hmmn_jax.evaluation.benchmarks import benchmark_settings
    from hmmn_jax.io.bundled import DEMO_CLIP

    model = weights(options)
    start(options)
    from hmmn_jax.cli.evaluate import evaluate

    config = benchmark_settings("demo")
    written = {"overlays": True, "movie": "gif", "overwrite": True, "takeover": options.takeover}
    evaluate(Request(config, data=DEMO_CLIP, output=options.output, **written, **model))
    frames, mask = DEMO_CLIP / "JPEGImages/240p/koi", DEMO_CLIP / "Annotations/240p/koi/00000.png"
    print(
        "Next, segment your own video. As an example, this command segments the bundled clip again:\n"
        f"  hmmn-jax segment {frames} --mask {mask} --output OUT"
    )
