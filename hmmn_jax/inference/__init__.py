"""Inference on videos: the memory bank and the segmenter."""

from hmmn_jax.inference.segmenter import Segmenter
from hmmn_jax.inference.state import Result, State

__all__ = ["Result", "Segmenter", "State"]
