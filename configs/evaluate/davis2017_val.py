"""DAVIS-2017 validation set of 30 sequences with 1 to 5 objects each.

    python evaluate.py --config configs/evaluate/davis2017_val.py --data DAVIS --checkpoint OUT --output RUN

The paper reports a J&F of 84.7 for training with YouTube-VOS, and 80.4 for training without YouTube-VOS. These values were not
measured in this project.
"""

from ml_collections import ConfigDict

from hmmn_jax.evaluation.benchmarks import benchmark_settings


def get_config() -> ConfigDict:
    """Returns the settings for DAVIS-2017 validation, in which every object has the same weight."""
    return benchmark_settings("davis2017_val")
