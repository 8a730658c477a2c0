"""Inference on videos: the memory bank and the segmenter."""

from hmmn_jax.inference.segmenter import Result, Segmenter, State

__all__ = ["Result", "Segmenter", "State"]
