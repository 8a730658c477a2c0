"""HMMN in JAX: Hierarchical Memory Matching Networks for video object segmentation."""

from hmmn_jax.checkpoint import load_checkpoint
from hmmn_jax.inference import Segmenter
from hmmn_jax.model import HMMN, HMMNConfig

__version__ = "0.1.0"
__all__ = ["HMMN", "HMMNConfig", "Segmenter", "load_checkpoint"]
