"""hmmn-tiny, first stage: `configs/small.py`, which has the details, under the name of what it is for.

python train.py --config configs/tiny_pretrain.py --workdir RUN1 --config.data.data_dir=DATA --config.validation.data=DAVIS
"""

from configs.small import get_config

__all__ = ["get_config"]
