"""The network in the paper: configuration, backbones, encoders, matching, decoder, and `HMMN`, which combines these parts."""

from hmmn_jax.model.config import HMMNConfig
from hmmn_jax.model.hmmn import HMMN, Segmentation, abstract_variables, fold_batch_norm

__all__ = ["HMMN", "HMMNConfig", "Segmentation", "abstract_variables", "fold_batch_norm"]
