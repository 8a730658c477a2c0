"""Default training settings, and the model config of hmmn-lite. `hmmn_jax.training.defaults` explains each field."""

from ml_collections import ConfigDict, config_dict

from hmmn_jax import HMMNConfig
from hmmn_jax.model.backbones import EfficientNetLite
from hmmn_jax.training.defaults import base, validation

__all__ = ["base", "lite_model", "validation"]


def lite_model() -> ConfigDict:
    """Returns the config of hmmn-lite, a model for CPUs with 2.2 million parameters and EfficientNet-Lite0 backbones."""
    small = HMMNConfig(
        backbone=EfficientNetLite(),
        normalise_keys=True,
        kernel_in_training=True,
        sigma=2.0,
        key_dim_s16=64,
        key_dim_s8=32,
        key_dim_s4=16,
        value_dim_s16=128,
        value_dim_s8=48,
        value_dim_s4=24,
        decoder_dim=48,
        k_s8=24,
        k_s4=6,
    )
    config = ConfigDict(small.to_dict())
    config.dtype = config_dict.placeholder(str)
    return config
