"""Runs `evaluate.py` with a slow segmenter that needs no model. Tests start several processes of this program.

python -m tests.evaluation.stub_evaluate FAULT --config configs/evaluate/custom.py --data ROOT --output RUN ...

FAULT is `none`, `step` or `clip`. With `step` and `clip`, the segmenter raises an error in the second video of this process,
after the first segmented frame. The error of `step` is a RuntimeError, which ends all processes. The error of `clip` is a
DataError, and only this video fails. The time of the error is written to the file named by the environment
variable FAULT_FILE. The environment variable SECONDS contains the number of seconds per frame.
"""

import functools
import os
import sys
import time
from pathlib import Path


def replace_parts(fault):
    """Replaces the weights and the segmenter with stubs."""
    import numpy as np

    from hmmn_jax.cli import evaluate as module
    from hmmn_jax.errors import DataError
    from tests.evaluation.harness import Repeating
    from tests.small import SMALL

    class Slow(Repeating):
        def run(self, frames, mask, later=None):
            for t, result in enumerate(super().run(frames, mask, later), start=1):
                time.sleep(float(os.environ["SECONDS"]))
                if fault != "none" and len(self.given) == 2 and t == 2:
                    Path(os.environ["FAULT_FILE"]).write_text(str(time.time()))
                    raise RuntimeError("the step failed") if fault == "step" else DataError("this video cannot be read")
                yield result

    weights = {"params": {"x": np.zeros(1, np.float32)}}
    module.load_checkpoint = lambda path, step: (weights, SMALL)
    module.evaluate = functools.partial(module.evaluate, make=lambda *_: [Slow()])


def main():
    """Runs `evaluate.py` with the stubs."""
    from absl import app

    import evaluate

    fault = sys.argv.pop(1)
    run = evaluate.run

    def stubbed():
        replace_parts(fault)
        return run()

    evaluate.run = stubbed
    app.run(evaluate.main, flags_parser=evaluate.PARSE)


if __name__ == "__main__":
    main()
