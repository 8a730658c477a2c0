"""Second stage of hmmn-tiny: videos for the most part, larger pictures, two objects a clip.

    python train.py --config configs/tiny_main.py --workdir RUN2 --config.init=RUN1 \
      --config.data.data_dir=DATA --config.validation.data=DAVIS

RUN1 is the workdir of `configs/tiny_pretrain.py`; DATA and DAVIS are as there.
"""

from ml_collections import ConfigDict

from configs import small


def get_config() -> ConfigDict:
    """As `configs/small.py`, but for what makes it slower and better."""
    config = small.get_config()
    config.unlock()
    config.data.size = (192, 192)
    config.data.resize = 192
    config.data.min_area = 150
    config.data.max_objects = 2
    config.data.sets.davis.repeat = ((0, 3.0 * small.STILLS / small.VIDEOS),)
    config.data.max_skip = ((0, 15),)
    config.data.seed = 1  # other clips than before
    config.batch = 4
    config.samples = 12_000
    config.learning_rate.peak = 5e-4
    config.learning_rate.warmup = 400
    config.validation.every = 1000
    return config.lock()
