"""Video object segmentation with HMMN. Segments objects in all frames of a video, given their masks in the first frame.

  hmmn-jax demo                                                          segment the bundled clip (takes half a minute)
  hmmn-jax segment clip.mp4 --mask first.png --output OUT                segment your own video
  hmmn-jax evaluate --benchmark davis2017_val --data DAVIS --output RUN  segment and score benchmark videos

'hmmn-jax COMMAND --help' explains a command and shows examples.
The exit code is 0 on success, 1 if only some videos are complete, 2 for invalid arguments or files, and 130 or 143
after an interruption.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import NoReturn

from hmmn_jax.cli.arguments import ArgumentParser, as_overrides
from hmmn_jax.cli.commands import COMMANDS
from hmmn_jax.cli.program import leave, run_program
from hmmn_jax.version import __version__

PROGRAM = "hmmn-jax"
RESUME = {
    "segment": "Run the same command again to segment the video",
    "evaluate": "Run the same command to resume with the missing videos",
}


def make_parser(command: str) -> ArgumentParser:
    """Returns a parser with the arguments of one command only, because the other commands would require more imports."""
    parser = ArgumentParser(prog=PROGRAM, description=__doc__)
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    for name, text in COMMANDS.items():
        added = commands.add_parser(name, help=text)
        if name == command:
            module = importlib.import_module(f"hmmn_jax.cli.commands.{name}")
            added.description = module.__doc__
            module.add_arguments(added)
            added.set_defaults(run=module.run)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    command = arguments[0] if arguments and arguments[0] in COMMANDS else ""

    def run() -> int | None:
        options = make_parser(command).parse_args(as_overrides(arguments))
        if getattr(options, "distributed", False) or getattr(options, "coordinator", None):
            return run_in_processes(options)
        return options.run(options)

    def run_in_processes(options: argparse.Namespace) -> int:
        from hmmn_jax.cli import launch  # imported only here, to keep --help fast
        from hmmn_jax.io.buckets import absolute

        given = {name: getattr(options, name) for name in launch.HOSTS}
        folder, resume = absolute(options.output), RESUME[command]
        return launch.run_in_processes(
            f"{PROGRAM} {command}",
            lambda: options.run(options),
            resume,
            folder,
            given,
            f"the command received SIGTERM. {resume}",
        )

    return run_program(f"{PROGRAM} {command}".rstrip(), run, RESUME.get(command, ""))


def script() -> NoReturn:
    """Runs the command `hmmn-jax`, and ends the process with its exit code."""
    leave(main())


if __name__ == "__main__":
    script()
