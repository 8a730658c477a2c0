"""YouTube-VOS 2019 validation set of 507 videos, with the same protocol as the 2018 set.

    python evaluate.py --config configs/evaluate/youtube_vos_2019.py --data YOUTUBE_VOS --checkpoint OUT --output RUN

configs/evaluate/youtube_vos_2018.py describes the input and the output.

The paper reports an overall score of 82.5 (not measured in this project). In the paper, J is 81.7 for seen classes and 77.3 for
unseen classes.
"""

from ml_collections import ConfigDict

from hmmn_jax.evaluation.benchmarks import benchmark_settings


def get_config() -> ConfigDict:
    """Returns the settings for YouTube-VOS 2019 validation, with the protocol of YouTube-VOS 2018."""
    return benchmark_settings("youtube_vos_2019")
