"""Does training work at all? A tiny model learns four rendered clips by heart; needs no data.

    python train.py --config configs/train/smoke.py --workdir RUN

Expected (measured): the mean loss of steps 1 to 20 is 0.98, that of steps 101 to 120 is 0.021: a 48th. Cost: two minutes on one
core, half of it compilation.
"""

from ml_collections import ConfigDict

from configs.train import base as training
from configs.train import data


def get_config() -> ConfigDict:
    """Four clips of one object, the same at every step."""
    config = training.base()
    config.model = training.tiny_model()
    config.model.backbone.blocks = (1, 1, 1)
    config.model.backbone.widths = (32, 64, 128)
    config.model.backbone.stem_width = 16
    config.data = data.moving_shapes()
    config.data.size = (96, 96)
    config.data.resize = 96
    config.data.min_area = 100
    config.data.max_objects = 1
    config.data.distinct = 4
    config.samples = 4 * 120
    config.optimizer.clip_norm = 1.0
    config.learning_rate.schedule = "cosine"
    config.learning_rate.peak = 2e-3
    config.learning_rate.warmup = 4 * 20
    config.dropout = 0.0
    config.log_every = 20
    config.checkpoint.every = 60
    return config.lock()
