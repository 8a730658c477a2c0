"""DAVIS-2017 test-dev set of 30 sequences. Only the masks of the first frames are public.

    python evaluate.py --config configs/evaluate/davis2017_testdev.py --data DAVIS --checkpoint OUT --output RUN

The program writes RUN/masks and RUN/submission.zip, which contains SEQUENCE/FRAME.png for every frame. The evaluation server
scores the zip file.

The paper reports a J&F of 78.6 with YouTube-VOS in training (not measured in this project).
"""

from ml_collections import ConfigDict

from hmmn_jax.evaluation.benchmarks import benchmark_settings


def get_config() -> ConfigDict:
    """Returns the settings for DAVIS-2017 test-dev, including the zip file for the evaluation server."""
    return benchmark_settings("davis2017_testdev")
