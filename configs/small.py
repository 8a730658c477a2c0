"""Small public sets: stills of people and streets, and DAVIS-2016 at 288p, half and half.

    python -m data.preview --config configs/small.py --config.data.data_dir=DATA --out preview.png

DATA is where `python -m data.build` put image_masks/{ccp,human,camvid} and davis/2016_288p.
"""

from ml_collections import ConfigDict

from configs import data


def get_config() -> ConfigDict:
    """Stills and videos in one mixture."""
    config = ConfigDict()
    config.data = data.small_videos()
    return config.lock()
