"""Inference on videos: the segmenter and its memory bank."""

from hmmn_jax.inference.segmenter import Segmenter
from hmmn_jax.inference.state import Result, State

__all__ = ["Result", "Segmenter", "State"]
