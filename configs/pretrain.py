"""Pre-training on still images: each clip is three transforms of one image, with objects of others pasted in.

    python -m data.preview --config configs/pretrain.py --config.data.data_dir=DATA --out preview.png

DATA is where `python -m data.build` put DUTS, ECSSD, FSS-1000, BIG and HRSOD; a set that is not there is left out by
--config.data.sets.big.repeat="((0, 0.0),)" only in part: remove it here instead. The recipe is that of STM's authors and of public code
(ranges in `configs/data.py`).
"""

from ml_collections import ConfigDict

from configs import data


def get_config() -> ConfigDict:
    """The data of the paper's first stage."""
    config = ConfigDict()
    config.data = data.paper_stills()
    return config.lock()
