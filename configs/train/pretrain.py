"""Pre-training on still images: a clip is three transformed copies of one image, with objects pasted from other images.

    python train.py --config configs/train/pretrain.py --workdir RUN1 --config.init=resnet50.pth \
      --config.data.data_dir=DATA --config.validation.data=DAVIS

resnet50.pth contains torchvision's ResNet-50 weights. DATA contains image_masks/{duts,ecssd,fss1000,big,hrsod}, built by
`python -m data.build`. To omit a data set such as BIG, set --config.data.sets.big.repeat="((0, 0.0),)". DAVIS is the folder of
DAVIS-2017.

Expected: published results of STM suggest a J&F of about 60 % on DAVIS-2017 val, or 69.5 % if objects are pasted into the
training clips. J&F was not measured in this project. Cost: the run has 500,000 steps with four 384x384 clips each. The authors
of the paper used four GPUs with one clip each. The run time was not measured.
"""

from ml_collections import ConfigDict

from configs.train import base as training
from configs.train import data


def get_config() -> ConfigDict:
    """Returns the config of the first training stage of the paper."""
    config = training.base()
    config.data = data.paper_stills()
    config.samples = 2_000_000
    return config.lock()
