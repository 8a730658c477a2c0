"""DAVIS-2017 test-dev: 30 sequences. Only the masks of the first frames are public. The server scores a zip file.

    python evaluate.py --config configs/evaluate/davis2017_testdev.py --data DAVIS --checkpoint OUT --output RUN

Writes RUN/masks and RUN/submission.zip, which contains SEQUENCE/FRAME.png for every frame.

Paper (quoted, not measured here): J&F 78.6 with YouTube-VOS in training.
"""

from ml_collections import ConfigDict

from hmmn_jax.evaluation.benchmarks import benchmark_settings


def get_config() -> ConfigDict:
    """Like DAVIS-2017 validation, but with a different list, and with a zip file for the server."""
    return benchmark_settings("davis2017_testdev")
