"""Training stage of hmmn-lite with rendered videos in which objects rotate and occlude each other.

    python train.py --config configs/train/lite_scenes.py --workdir RUN5 --config.init=lite \
      --config.data.data_dir=DATA --config.validation.data=DAVIS

`configs/train/lite_varied.py` describes DATA and DAVIS. DATA also contains `davis/sprites` and `davis/scenes`; see
docs/lite.md.

Expected: in one run, J&F on the four sequences that were left out of training was 0.770 for a shorter side of 240 pixels and
0.792 for 360 pixels. The run was initialised from version 1 of `lite`, which has a J&F of 0.789. The run was resumed twice with
a lower `--config.samples`, and ended after 2,440 samples. Cost: a step took 7 to 8 seconds on two cores, and compilation took 3
to 5 minutes at each start. docs/lite.md lists all runs.
"""

from ml_collections import ConfigDict

from configs.train import data, lite_varied

DAVIS_SHARE, RENDERED_SHARE, STILLS = 0.42, 0.4, 2900  # fractions of clips; number of still images, including repeats
VIDEOS, SCENES, SPRITES = 26, 174, 225


def get_config() -> ConfigDict:
    """Returns a variant of `configs/train/lite_varied.py` with five 224x224 frames per clip and two sets of rendered videos."""
    config = lite_varied.get_config()
    config.unlock()
    clips = STILLS / (1 - DAVIS_SHARE - RENDERED_SHARE)
    config.data.frames = 5
    config.data.size = (224, 224)
    config.data.resize = 208
    config.data.min_area = 150
    config.data.max_skip = ((0, 5),)
    config.data.copy_paste.probability = 0.6
    config.data.sets.davis.repeat = ((0, DAVIS_SHARE * clips / VIDEOS),)
    for name, videos in (("scenes", SCENES), ("sprites", SPRITES)):
        config.data.sets[name] = data.source(
            f"davis/{name}", still=False, repeat=0.5 * RENDERED_SHARE * clips / videos, donors=0.2
        )
    config.data.seed = 4
    config.samples = 6400
    config.learning_rate.peak = 4e-4
    config.validation.every = 1600
    config.validation.size = 240
    return config.lock()
