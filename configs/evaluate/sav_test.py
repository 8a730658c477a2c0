"""SA-V test set of 150 videos, with the same protocol as the validation set.

    python evaluate.py --config configs/evaluate/sav_test.py --data SAV --checkpoint OUT --output RUN
    python evaluate.py --config configs/evaluate/sav_test.py --data SAV --score PRED

configs/evaluate/sav_val.py describes the input and the output.
"""

from ml_collections import ConfigDict

from hmmn_jax.evaluation.benchmarks import benchmark_settings


def get_config() -> ConfigDict:
    """Returns the settings for the SA-V test set, whose videos are listed in sav_test.txt."""
    return benchmark_settings("sav_test")
