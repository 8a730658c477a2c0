"""hmmn-tiny, second stage: larger crops, videos for the most part, the hardest pixels from the first step on.

    python train.py --config configs/train/tiny_main.py --workdir RUN2 --config.init=RUN1 \
      --config.data.data_dir=DATA --config.validation.data=DAVIS

RUN1 is the workdir of `configs/train/small.py`; DATA and DAVIS are as there.

Expected (measured once): J&F on blackswan, bmx-trees, car-shadow and libby of DAVIS-2016 val, at 288 pixels, 0.62 at step 475,
0.67 at 950, 0.65 at 1425 and 0.65 at 1900, the end; on the four training sequences that were left out 0.64. See docs/tiny.md.
Cost: 32 minutes on two cores, validation included; 4.3 clips a second, 2 % of it waiting for input.
"""

from ml_collections import ConfigDict

from configs.train import small

DAVIS_SHARE = 0.7  # of the clips


def get_config() -> ConfigDict:
    """As `configs/train/small.py`, but for clips that are more like a video to be segmented."""
    config = small.get_config()
    config.unlock()
    config.model.sigma = 1.5  # cells are smaller in what is to be seen
    config.data.size = (192, 192)
    config.data.resize = 192
    config.data.min_area = 200
    config.data.max_skip = ((0, 6), (4000, 12))
    config.data.copy_paste.probability = 0.4
    config.data.copy_paste.size = (0.15, 0.6)
    config.data.copy_paste.drift = 0.08
    config.data.affine.clip.zoom = (0.8, 1.3)
    config.data.sets.davis.repeat = ((0, DAVIS_SHARE / (1 - DAVIS_SHARE) * small.STILLS / small.VIDEOS),)
    config.data.seed = 1  # other clips than before
    config.batch = 4
    config.samples = 7600
    config.hardest.start, config.hardest.end = 0, config.batch
    config.learning_rate.peak = 3e-4
    config.learning_rate.warmup = 400
    config.validation.every = 475
    config.validation.size = 288
    return config.lock()
