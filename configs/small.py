"""A small model from scratch on small public sets: what trains on a CPU.

    python train.py --config configs/small.py --workdir RUN --config.data.data_dir=DATA --config.validation.data=DAVIS

DATA is where `python -m data.build` put image_masks/{ccp,human,camvid} and davis/2016_288p; DAVIS is the folder of DAVIS-2016,
or of some of its sequences. Clips of 144x144, 1.8 million parameters, one object. Another number of samples is another run.

Expected: NOT good yet. Measured on two cores: the loss fell from 1.35 to 0.44, but J&F on four sequences of DAVIS-2016 val
ended at 0.006, below repeating the first mask (0.315 there). On clips like those of training the model finds objects (IoU
0.21) without using the first mask: keys grow until matching scores have a deviation of thousands, and a saturated softmax does
not learn. A smaller learning rate is the first thing to try.
Cost: 3500 steps, of 0.75 to 0.9 s where both cores are free (measured over stretches; the whole took 96 minutes beside other
work, with one interruption).
"""

from ml_collections import ConfigDict

from configs import data, training

STILLS, VIDEOS = data.SMALL_STILLS, 26


def get_config() -> ConfigDict:
    """Stills alone, then stills and videos."""
    config = training.base()
    config.model = training.tiny_model()
    config.data = data.small_videos()
    config.data.size = (128, 128)
    config.data.resize = 128
    config.data.min_area = 120
    config.data.max_objects = 1
    # Other objects in every clip, any of which may be the one to follow: its looks alone do not tell which it is.
    config.data.copy_paste.probability = 1.0
    config.data.copy_paste.size = (0.15, 0.9)
    config.data.affine.clip = data.affine(10.0, 5.0, 0.2)
    config.data.affine.frame = data.affine(20.0, 10.0, 0.1)
    config.data.colour.clip = data.jitter(0.2, 0.05)
    config.data.reverse = 0.5
    # Of the clips, half are videos in the end.
    config.data.sets.davis = data.source("davis/train26", still=False, repeat=((0, 0.0), (10_000, STILLS / VIDEOS)))
    config.data.max_skip = ((0, 6), (20_000, 15))
    config.batch = 8
    config.samples = 32_000
    config.optimizer = ConfigDict({"name": "adamw", "clip_norm": 1.0, "weight_decay": 1e-4})
    config.learning_rate.schedule = "cosine"
    config.learning_rate.peak = 3e-4
    config.learning_rate.warmup = 800
    config.ema_decay = 0.995
    config.log_every = 50
    config.checkpoint.every = 250
    config.validation.every = 1000
    config.validation.year = "2016"
    config.validation.single_object = True
    config.validation.size = 240
    return config.lock()
