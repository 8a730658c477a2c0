"""Fine-tunes hmmn-lite on a few annotated frames of one video.

    python -m data.build davis --config folder --as mine --source FOLDER --data_dir DATA
    python train.py --config configs/train/finetune_lite.py --workdir RUN --config.init=lite --config.data.data_dir=DATA
    python evaluate.py --config configs/evaluate/custom.py --data FOLDER --checkpoint RUN --output OUT

FOLDER contains all frames as JPEGImages/VIDEO/*.jpg, and masks of at least three frames as Annotations/VIDEO/*.png.

Expected: in one run on dance-jump from DAVIS-2016, J&F increased from 0.668 to 0.736. Five of the 60 frames of dance-jump were
annotated, and J&F was computed on the other frames. Cost: training took 5 minutes on two CPU cores, including 1.2 minutes of
compilation.
"""

from ml_collections import ConfigDict

from configs.train import base as training
from configs.train import data


def get_config() -> ConfigDict:
    """Returns a config for clips of annotated frames, or of transformed copies of a single annotated frame.

    The annotated frames of a clip are in temporal order or in reverse order.
    """
    config = training.base()
    config.model = training.lite_model()
    videos = {"frames": data.source("davis/mine", still=True), "videos": data.source("davis/mine", still=False, repeat=5.0)}
    config.data = data.videos(videos, ((0, 25),))
    config.data.size = (256, 256)
    config.data.resize = 256
    config.data.max_objects = 2
    config.data.min_area = 100
    config.data.wander = 0.2
    config.data.reverse = 0.5
    config.data.affine.clip = data.affine(15.0, 5.0, 0.25)
    config.data.affine.frame = data.affine(6.0, 3.0, 0.05)
    config.data.colour.clip = data.jitter(0.2, 0.03)
    config.batch = 4
    config.samples = 400
    config.optimizer = ConfigDict({"name": "adamw", "clip_norm": 1.0, "weight_decay": 1e-4, "parts": {"backbone": 0.1}})
    config.learning_rate.schedule = "cosine"
    config.learning_rate.peak = 2e-4
    config.learning_rate.warmup = 40
    config.learning_rate.end = 0.05
    config.hardest = ConfigDict({"share": 0.25, "start": 0, "end": config.batch})
    config.ema_decay = 0.98
    config.log_every = 40
    config.checkpoint.every = 200
    config.validation.every = 200
    config.validation.protocol = "custom"
    config.validation.size = 0
    return config.lock()
