"""`evaluate.py` with a slow segmenter that needs no model, for tests with several processes.

python -m tests.evaluation.stub_evaluate FAULT --config configs/evaluate/custom.py --data ROOT --output RUN ...

FAULT is none, step or clip. In the second frame of the second video of this process, step raises an unexpected error, and clip
raises an error that concerns only this video. The time of the fault is written to the file in FAULT_FILE. A frame takes
SECONDS.
"""

import functools
import os
import sys
import time
from pathlib import Path


def replace_parts(fault):
    """Puts stubs in place of the model and the segmenter."""
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
