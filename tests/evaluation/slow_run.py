"""An evaluation with a segmenter that takes its time, as a program to be interrupted or killed.

python -m tests.evaluation.slow_run DATA RUN
"""

import sys
import time
from pathlib import Path

from tests.evaluation.harness import Repeating, run_evaluate


class Slow(Repeating):
    """Takes 20 ms per frame."""

    def run(self, frames, mask, later=None):
        for result in super().run(frames, mask, later):
            time.sleep(0.02)
            yield result


if __name__ == "__main__":
    done = run_evaluate(Slow(), data=Path(sys.argv[1]), output=Path(sys.argv[2]), overlays=True, movie="gif")
    print(done.err, file=sys.stderr, end="")
    sys.exit(done.code)
