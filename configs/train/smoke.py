"""Checks that training works: a tiny model memorises four rendered clips. No data set is needed.

    python train.py --config configs/train/smoke.py --workdir RUN

Expected: the measured mean loss was 0.98 in steps 1 to 20 and 0.021 in steps 101 to 120. Cost: on one core, the run takes two
minutes, and half of this time is compilation.
"""

from ml_collections import ConfigDict

from configs.train import base as training
from configs.train import data
from hmmn_jax import HMMNConfig
from hmmn_jax.model.backbones import ResNet


def small_model() -> HMMNConfig:
    """Returns the config of a model that learns within a few steps from random initial values."""
    return HMMNConfig(
        backbone=ResNet(stem_width=16, blocks=(1, 1, 1), widths=(32, 64, 128), norm="layer"),
        normalise_keys=True,
        kernel_in_training=True,
        sigma=2.0,
        key_dim_s16=48,
        key_dim_s8=32,
        key_dim_s4=16,
        value_dim_s16=96,
        value_dim_s8=48,
        value_dim_s4=24,
        decoder_dim=48,
        k_s8=24,
        k_s4=6,
    )


def get_config() -> ConfigDict:
    """Returns a config that uses the same four clips at every step, with one object per clip."""
    config = training.base()
    config.model.update(small_model().to_dict())
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
    config.log_every = 80
    config.checkpoint.every = 240
    return config.lock()
