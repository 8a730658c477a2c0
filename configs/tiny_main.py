"""Second stage of hmmn-tiny: whole frames of videos for the most part.

    python train.py --config configs/tiny_main.py --workdir RUN2 --config.init=RUN1 \
      --config.data.data_dir=DATA --config.validation.data=DAVIS

RUN1 is the workdir of `configs/small.py`; DATA and DAVIS are as there.
"""

from ml_collections import ConfigDict

from configs import data, small


def get_config() -> ConfigDict:
    """As `configs/small.py`, but for data that are more like a video to be segmented."""
    config = small.get_config()
    config.unlock()
    # The whole width of a frame: background that a square crop cuts off competes for each match, too.
    config.data.size = (128, 224)
    config.data.copy_paste.probability = 0.5
    config.data.affine.clip.zoom = (0.9, 1.2)
    config.data.affine.frame = data.affine(10.0, 5.0, 0.05)
    config.data.sets.davis.repeat = ((0, 3.0 * small.STILLS / small.VIDEOS),)
    config.data.max_skip = ((0, 9),)
    config.data.seed = 2  # other clips than before
    config.batch = 6
    config.samples = 3900
    # The hardest quarter of the pixels: with all of them a model is right about the background, and unsure of objects.
    config.hardest.share = 0.25
    config.hardest.start = 0
    config.hardest.end = 6
    config.learning_rate.peak = 4e-4
    config.learning_rate.warmup = 240
    config.validation.every = 650
    config.validation.size = 128
    return config.lock()
