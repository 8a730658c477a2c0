"""The network of the paper: configuration, encoders, matching, decoder, and `HMMN` that puts them together."""

from hmmn_jax.model.config import HMMNConfig
from hmmn_jax.model.hmmn import HMMN, Segmentation

__all__ = ["HMMN", "HMMNConfig", "Segmentation"]
