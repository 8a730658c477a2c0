"""Main training on videos: YouTube-VOS 2019 and DAVIS-2017 (x5), 3771 clips an epoch, skips growing from 0 to 25 frames.

    python -m data.preview --config configs/main.py --config.data.data_dir=DATA --out preview.png

DATA is where `python -m data.build` put youtube_vos/2019 and davis/2017_480p.
"""

from ml_collections import ConfigDict

from configs import data


def get_config() -> ConfigDict:
    """The data of the paper's second stage."""
    config = ConfigDict()
    config.data = data.paper_videos()
    return config.lock()
