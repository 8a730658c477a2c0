"""Pre-training on still images: each clip is three transforms of one image, with objects of others pasted in.

    python -m data.preview --config configs/pretrain.py --config.data.data_dir=DATA --out preview.png

DATA is where `python -m data.build` put DUTS, ECSSD, FSS-1000, BIG and HRSOD; to do without one, take it out of
`configs/data.py`, which also has the ranges. The recipe is that of STM's authors and of public code.
"""

from ml_collections import ConfigDict

from configs import data


def get_config() -> ConfigDict:
    """The data of the paper's first stage."""
    config = ConfigDict()
    config.data = data.paper_stills()
    return config.lock()
