"""BURST test set, with the same protocol as the validation set but different sequences.

    python evaluate.py --config configs/evaluate/burst_test.py --data BURST --checkpoint OUT --output RUN

configs/evaluate/burst_val.py describes the input and the output.
"""

from ml_collections import ConfigDict

from hmmn_jax.evaluation.benchmarks import benchmark_settings


def get_config() -> ConfigDict:
    """Returns the settings for the BURST test set, which is in the folder "test"."""
    return benchmark_settings("burst_test")
