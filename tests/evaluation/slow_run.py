"""Runs an evaluation with a slow segmenter. Tests interrupt or kill this program.

python -m tests.evaluation.slow_run DATA RUN
"""

import sys
import time
from pathlib import Path

from tests.evaluation.harness import Repeating, run_evaluate


class Slow(Repeating):
    """A `Repeating` segmenter that takes 20 ms per frame."""

    def run(self, frames, mask, later=None):
        for result in super().run(frames, mask, later):
            time.sleep(0.02)
            yield result


if __name__ == "__main__":
    done = run_evaluate(Slow(), data=Path(sys.argv[1]), output=Path(sys.argv[2]), overlays=True, movie="gif")
    print(done.err, file=sys.stderr, end="")
    sys.exit(done.code)
