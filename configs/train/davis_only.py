"""Main training on DAVIS-2017 only, without YouTube-VOS.

    python train.py --config configs/train/davis_only.py --workdir RUN2 --config.init=RUN1 \
      --config.data.data_dir=DATA --config.validation.data=DAVIS

RUN1 is the workdir of a run with `configs/train/pretrain.py`. DATA contains davis/2017_480p, built by `python -m data.build`.
DAVIS is the folder of DAVIS-2017.

Expected: the paper reports a J&F of 80.4 on DAVIS-2017 val and of 89.4 on DAVIS-2016 val. J&F was not measured in this project.
Cost: the run has 60,000 steps with four 384x384 clips each. The paper does not state the number of steps. The run time was not
measured.
"""

from ml_collections import ConfigDict

from configs.train import base as training
from configs.train import data

SAMPLES = 240_000


def get_config() -> ConfigDict:
    """Returns a variant of `configs/train/main.py` with one data set and fewer samples."""
    config = training.base()
    config.data = data.videos({"davis": data.source("davis/2017_480p", still=False)}, data.stcn_curriculum(SAMPLES))
    config.samples = SAMPLES
    config.learning_rate.schedule = "poly"
    config.validation.every = 20_000
    return config.lock()
