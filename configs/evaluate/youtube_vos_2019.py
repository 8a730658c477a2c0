"""YouTube-VOS 2019 validation: 507 videos, otherwise as 2018.

    python evaluate.py --config configs/evaluate/youtube_vos_2019.py --data YOUTUBE_VOS --checkpoint OUT --output RUN

configs/evaluate/youtube_vos_2018.py tells what is read and written. Paper (quoted, not measured here): overall 82.5, J of seen
classes 81.7, of unseen ones 77.3.
"""

from ml_collections import ConfigDict

from configs.evaluate import youtube_vos_2018
from configs.evaluate.base import paper


def get_config() -> ConfigDict:
    """As 2018."""
    config = youtube_vos_2018.get_config()
    config.year = "2019"
    config.paper = paper("YouTube-VOS 2019 valid", 507, {"overall": 0.825, "J seen": 0.817, "J unseen": 0.773})
    return config
