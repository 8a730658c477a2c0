"""A small model from scratch on small public sets: what trains on a CPU. First stage: stills, then videos as well.

    python train.py --config configs/train/small.py --workdir RUN --config.data.data_dir=DATA --config.validation.data=DAVIS

DATA is where `python -m data.build` put image_masks/{ccp,human,camvid} and davis/train26: all training sequences of DAVIS-2016
at 288p but bus, dance-jump, horsejump-low and rhino (docs/tiny.md has the command).
DAVIS is the folder of DAVIS-2016, or of some of its sequences. Clips of 128x128, 1.8 million parameters, one object at a time,
among others that are pasted in. Another number of samples is another run.

Expected (measured once): J&F on blackswan, bmx-trees, car-shadow and libby of DAVIS-2016 val, at 192 pixels, 0.25 at step 500,
0.43 at 1000, 0.50 at 2000, 0.55 at 3000 and 0.56 at 4000, the end (repeating the first mask has 0.315). The loss falls from
1.20 to 0.27, rises to 0.8 as only the hardest quarter of the pixels counts, and ends at 0.73. docs/tiny.md has the curves.
Cost: 65 minutes on two cores, not quite free, validation included; 8.8 clips a second, 2 to 3 % of it waiting for input.
"""

from ml_collections import ConfigDict

from configs.train import base as training
from configs.train import data

STILLS, VIDEOS = data.SMALL_STILLS, 26  # those of davis/train26


def get_config() -> ConfigDict:
    """Stills alone, then stills and videos, and in the end more and more the pixels that are hardest."""
    config = training.base()
    config.model = training.tiny_model()
    config.data = data.small_videos()
    config.data.size = (128, 128)
    config.data.resize = 128
    config.data.min_area = 120
    config.data.max_objects = 1
    # Little moves between two frames of a video: a model that is taught to expect leaps does not trust the last mask.
    config.data.max_skip = ((0, 6), (20_000, 12))
    config.data.affine.clip = data.affine(10.0, 5.0, 0.2)
    config.data.affine.frame = data.affine(8.0, 4.0, 0.05)
    config.data.wander = 0.2
    config.data.reverse = 0.5
    # Other objects, any of which may be the one to follow: its looks alone do not tell which it is.
    config.data.copy_paste.probability = 0.7
    config.data.copy_paste.size = (0.15, 0.9)
    config.data.copy_paste.drift = 0.05
    config.data.colour.clip = data.jitter(0.2, 0.05)
    # Of the clips, half are videos, later two thirds.
    as_many = STILLS / VIDEOS
    repeat = ((0, 0.0), (2000, as_many), (16_000, 2 * as_many))
    config.data.sets.davis = data.source("davis/train26", still=False, repeat=repeat)
    config.batch = 8
    config.samples = 32_000
    # With all pixels a model is soon right about the background, and long unsure of the object.
    config.hardest = ConfigDict({"share": 0.25, "start": 12_000, "end": 20_000})
    config.optimizer = ConfigDict({"name": "adamw", "clip_norm": 1.0, "weight_decay": 1e-4})
    config.learning_rate.schedule = "cosine"
    config.learning_rate.peak = 5e-4
    config.learning_rate.warmup = 800
    config.ema_decay = 0.995
    config.log_every = 50
    config.checkpoint.every = 250
    config.validation.every = 500
    config.validation.year = "2016"
    config.validation.single_object = True
    config.validation.size = 192
    return config.lock()
