"""DAVIS-2017 test-dev: 30 sequences. Only the first masks are public; the server scores a zip.

    python evaluate.py --config configs/evaluate/davis2017_testdev.py --data DAVIS --checkpoint OUT --output RUN

Writes RUN/masks and RUN/submission.zip, which has SEQUENCE/FRAME.png for every frame. Paper (quoted, not measured
here): J&F 78.6 with YouTube-VOS in training.
"""

from ml_collections import ConfigDict

from hmmn_jax.evaluation.benchmarks import benchmark_settings


def get_config() -> ConfigDict:
    """Like DAVIS-2017 validation, with another list and a zip."""
    return benchmark_settings("davis2017_testdev")
