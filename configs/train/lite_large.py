"""Optional last training stage of hmmn-lite, with 320x320 crops.

In these crops, objects have about the same size as in full-size frames.

    python train.py --config configs/train/lite_large.py --workdir RUN3 --config.init=RUN2 \
      --config.data.data_dir=DATA --config.validation.data=DAVIS

RUN2 is the workdir of a run with `lite_main.py`, or `lite` for the bundled weights. `configs/train/lite.py` describes DATA and
DAVIS. To train on clips of another seed, set --config.data.seed=3.

Expected: in one run, J&F for full-size frames on the four sequences that were left out of training was 0.795 at step 300, 0.790
at step 600 and 0.785 at step 900. The run was initialised from version 1 of `lite`, which has a J&F of 0.789. The bundled
weights were not trained with `lite_large`. Cost: a step took 6 to 8 seconds on two cores that were shared with other processes.
docs/lite.md lists all runs.
"""

from ml_collections import ConfigDict

from configs.train import lite_main


def get_config() -> ConfigDict:
    """Returns a variant of `configs/train/lite_main.py` with 320x320 crops and four frames per clip."""
    config = lite_main.get_config()
    config.unlock()
    config.data.frames = 4
    config.data.size = (320, 320)
    config.data.resize = 320
    config.data.min_area = 300
    config.data.seed = 2
    config.batch = 3
    config.samples = 3600
    config.optimizer.parts.backbone = 0.3
    config.learning_rate.peak = 3e-4
    config.learning_rate.warmup = 120
    config.log_every = 150
    config.checkpoint.every = config.validation.every = 900
    config.validation.size = 0
    return config.lock()
