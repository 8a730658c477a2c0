"""Main training on YouTube-VOS 2019 and DAVIS-2017 (repeated five times), with skips that increase from 0 to 25 frames.

    python train.py --config configs/train/main.py --workdir RUN2 --config.init=RUN1 \
      --config.data.data_dir=DATA --config.validation.data=DAVIS

RUN1 is the workdir of a run with `configs/train/pretrain.py`. DATA contains youtube_vos/2019 and davis/2017_480p, built by
`python -m data.build`. DAVIS is the folder of DAVIS-2017.

Expected: the paper reports a J&F of 84.7 on DAVIS-2017 val and of 90.8 on DAVIS-2016 val. J&F was not measured in this project.
Cost: the run has 245,000 steps with four 384x384 clips each. An epoch has 3771 clips. The authors of the paper used four GPUs
with one clip each. The run time was not measured.
"""

from ml_collections import ConfigDict

from configs.train import base as training
from configs.train import data


def get_config() -> ConfigDict:
    """Returns the config of the second training stage of the paper."""
    config = training.base()
    config.data = data.paper_videos()
    config.samples = 260 * data.MAIN_EPOCH
    config.learning_rate.schedule = "poly"  # the authors reduced the learning rate, but did not publish the schedule
    return config.lock()
