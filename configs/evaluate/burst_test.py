"""BURST test: like validation, with other sequences.

    python evaluate.py --config configs/evaluate/burst_test.py --data BURST --checkpoint OUT --output RUN

configs/evaluate/burst_val.py describes input and output.
"""

from ml_collections import ConfigDict

from hmmn_jax.evaluation.benchmarks import benchmark_settings


def get_config() -> ConfigDict:
    """The folder test."""
    return benchmark_settings("burst_test")
