"""hmmn-lite, main stage, in which clips have five frames and up to two objects.

    python train.py --config configs/train/lite_main.py --workdir RUN2 --config.init=RUN1 \
      --config.data.data_dir=DATA --config.validation.data=DAVIS

RUN1 is the workdir of a run with `configs/train/lite.py`, or a checkpoint of an earlier run of this stage.
`configs/train/lite.py` describes DATA and DAVIS. To continue with different clips, set --config.data.seed=2.

Expected: in one run with --config.samples=3600, J&F on the four sequences that were left out of training was 0.74 at step 250,
0.76 at step 500 and 0.765 at step 900, the last step. The frames had a shorter side of 240 pixels. For a shorter side
of 360 pixels, J&F was 0.79 at the end of the run. Cost: the run took 65 minutes on two busy cores. On nearly idle cores, a step
takes 2.7 seconds, and compilation takes at least 2 minutes. docs/lite.md lists all runs.
"""

from ml_collections import ConfigDict

from configs.train import lite

DAVIS_SHARE, STILLS = 0.7, 1980  # fraction of clips from DAVIS, and number of still images, including repeats


def get_config() -> ConfigDict:
    """Returns a variant of `configs/train/lite.py` with longer and larger clips.

    An object that is pasted from a video keeps its motion in that video.
    """
    config = lite.get_config()
    config.unlock()
    config.data.frames = 5
    config.data.size = (208, 208)
    config.data.resize = 208
    config.data.max_objects = 2
    config.data.max_skip = ((0, 4),)
    config.data.affine.frame.rotation = 5.0
    config.data.affine.frame.shear = 3.0
    config.data.copy_paste.moving = True
    config.data.copy_paste.probability = 0.8
    config.data.copy_paste.objects = (1, 2)
    config.data.copy_paste.size = (0.12, 0.7)
    config.data.copy_paste.drift = 0.03
    config.data.sets.davis.repeat = ((0, DAVIS_SHARE / (1 - DAVIS_SHARE) * STILLS / 26),)
    config.data.seed = 1  # the clips differ from the clips of the previous stage
    config.batch = 4
    config.samples = 5000
    config.hardest.start, config.hardest.end = 0, config.batch
    config.optimizer.parts.backbone = 0.2
    config.learning_rate.peak = 4e-4
    config.learning_rate.warmup = 200
    config.ema_decay = 0.995
    config.log_every = 200
    config.checkpoint.every = 1000
    config.validation.every = 1000
    return config.lock()
