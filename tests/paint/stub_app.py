"""Serves a project with a stub segmenter, so that tests of the page need no compilation.

    python -m tests.paint.stub_app VIDEO PROJECT [--port N] [--seconds-per-frame X]

The program prints the same lines as `hmmn-jax paint`.
"""

import argparse
import sys
import time
from pathlib import Path

from hmmn_jax.cli.program import leave, run_program
from hmmn_jax.paint.server import paint
from tests.session.stub import Stub


class SlowStub(Stub):
    """A stub segmenter that waits before each frame."""

    def __init__(self, seconds):
        super().__init__()
        self.seconds = seconds

    def step(self, *args, **options):
        time.sleep(self.seconds)
        return super().step(*args, **options)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("video", type=Path)
    parser.add_argument("project", type=Path)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--seconds-per-frame", type=float, default=0.0)
    options = parser.parse_args()
    paint(options.project, options.video, lambda _: SlowStub(options.seconds_per_frame), "stub", port=options.port)


if __name__ == "__main__":
    leave(run_program(sys.argv[0], main))
