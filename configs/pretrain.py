"""Pre-training on still images: each clip is three transforms of one image, with objects of others pasted in.

    python -m data.preview --config configs/pretrain.py --config.data.data_dir=DATA --out preview.png

DATA is where `python -m data.build` put image_masks/{duts,ecssd,fss1000,big,hrsod}; a set that you lack is left out by, for
example, --config.data.sets.big.repeat="((0, 0),)". Ranges are those of STM's authors and of public code.
"""

from ml_collections import ConfigDict

from configs import data


def get_config() -> ConfigDict:
    """The data of the paper's first stage."""
    config = ConfigDict()
    config.data = data.paper_stills()
    return config.lock()
