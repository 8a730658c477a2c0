"""Exports a video's masks in other formats: PNGs, layers with soft edges, COCO and YouTube-VIS JSON, and movies."""

from hmmn_jax.exports.export import KINDS, export, masked_frame
from hmmn_jax.exports.exporter import UNKNOWN_FPS, Exporter, Label, MaskedFrame, VideoFacts

__all__ = ["KINDS", "UNKNOWN_FPS", "Exporter", "Label", "MaskedFrame", "VideoFacts", "export", "masked_frame"]
