"""Fine-tuning on your own videos in the layout of DAVIS.

    python -m data.build davis --config folder --as mine --source FOLDER --data_dir DATA
    python train.py --config configs/train/finetune.py --workdir RUN --config.init=OUT --config.data.data_dir=DATA

FOLDER contains JPEGImages/RESOLUTION/VIDEO/*.jpg and Annotations/RESOLUTION/VIDEO/*.png. `data/davis/README.md` describes lists
of sequences and other layouts. OUT is an output of `convert_weights.py`, the workdir of another run, or a `.pth` file with the
released weights. If you have annotated sequences for validation, set --config.validation.data=FOLDER and
--config.validation.split=LIST to compute their J&F during training.

Expected: J&F is unknown, because it was not measured. If FOLDER contains few videos, check the validation scores for
overfitting. Training keeps the checkpoint with the best validation score. Cost: the run has 5,000 steps with four 384x384 clips
each. The run time was not measured.
"""

from ml_collections import ConfigDict

from configs.train import base as training
from configs.train import data


def get_config() -> ConfigDict:
    """Returns the config of a short run that starts from trained variables and computes a moving average of the variables."""
    config = training.base()
    config.data = data.videos({"mine": data.source("davis/mine", still=False)}, ((0, 5),))
    config.samples = 20_000
    config.learning_rate.schedule = "poly"
    config.learning_rate.peak = 5e-6
    config.ema_decay = 0.999
    config.checkpoint.every = 2000
    config.validation.every = 2000
    return config.lock()
