"""Training stage of hmmn-lite with duplicates of pasted objects, larger motion of still images, and fewer clips from videos.

    python train.py --config configs/train/lite_varied.py --workdir RUN4 --config.init=RUN2 \
      --config.data.data_dir=DATA --config.validation.data=DAVIS

RUN2 is the workdir of a run with `configs/train/lite_main.py`, or `lite` for the bundled weights. `configs/train/lite.py`
describes DATA and DAVIS. DATA also contains `image_masks/parts`; see docs/lite.md.

Expected: in one run, J&F on the four sequences that were left out of training was 0.785 at step 450 and 0.795 at step 700, the
last step. The run was initialised from version 1 of `lite`, which has a J&F of 0.789. The run was resumed twice with a lower
`--config.samples`, and ended after 2,800 samples. Cost: a step took 5 to 8 seconds on two cores that were shared with other
processes. docs/lite.md lists all runs.
"""

from ml_collections import ConfigDict

from configs.train import data, lite_main

DAVIS_SHARE, STILLS = 0.5, 2900  # fraction of clips from DAVIS; number of still images, including repeats


def get_config() -> ConfigDict:
    """Returns a variant of `configs/train/lite_main.py` with 272x272 crops and four frames per clip."""
    config = lite_main.get_config()
    config.unlock()
    config.data.frames = 4
    config.data.size = (272, 272)
    config.data.resize = 272
    config.data.min_area = 250
    config.data.wander = 0.3
    config.data.affine.clip = data.affine(15.0, 8.0, 0.3)
    config.data.colour.clip = data.jitter(0.25, 0.1)
    config.data.colour.frame = data.jitter(0.05, 0.0)
    config.data.grey = 0.1
    config.data.copy_paste.twins = 0.4
    config.data.copy_paste.size = (0.12, 0.6)
    config.data.copy_paste.drift = 0.05
    config.data.sets.parts = data.source("image_masks/parts", still=True, repeat=1.0)
    config.data.sets.davis.repeat = ((0, DAVIS_SHARE / (1 - DAVIS_SHARE) * STILLS / 26),)
    config.data.sets.davis.donors = 0.1  # so that about half of the pasted objects are from DAVIS
    config.data.seed = 3
    config.samples = 4800
    config.optimizer.parts.backbone = 0.1
    config.learning_rate.peak = 3e-4
    config.learning_rate.warmup = 200
    config.validation.every = 1600
    config.validation.size = 0
    return config.lock()
