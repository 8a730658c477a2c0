"""SA-V test: like validation, with 150 other videos.

    python evaluate.py --config configs/evaluate/sav_test.py --data SAV --checkpoint OUT --output RUN
    python evaluate.py --config configs/evaluate/sav_test.py --data SAV --score PRED

configs/evaluate/sav_val.py describes input and output.
"""

from ml_collections import ConfigDict

from hmmn_jax.evaluation.benchmarks import benchmark_settings


def get_config() -> ConfigDict:
    """The list sav_test.txt."""
    return benchmark_settings("sav_test")
