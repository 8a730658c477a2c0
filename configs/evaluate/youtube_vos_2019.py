"""YouTube-VOS 2019 validation: like 2018, but with 507 videos.

    python evaluate.py --config configs/evaluate/youtube_vos_2019.py --data YOUTUBE_VOS --checkpoint OUT --output RUN

configs/evaluate/youtube_vos_2018.py describes the input and the output.

Paper (quoted, not measured here): overall 82.5; J of seen classes 81.7, of unseen classes 77.3.
"""

from ml_collections import ConfigDict

from hmmn_jax.evaluation.benchmarks import benchmark_settings


def get_config() -> ConfigDict:
    """Follows the same protocol as 2018."""
    return benchmark_settings("youtube_vos_2019")
