"""Exports of a video's masks in the formats of other programs: PNGs, layers with soft edges, COCO and YTVIS JSON, movies."""

from hmmn_jax.exports.export import KINDS, export, masked_frame
from hmmn_jax.exports.exporter import UNKNOWN_FPS, Exporter, Label, MaskedFrame, VideoFacts

__all__ = ["KINDS", "UNKNOWN_FPS", "Exporter", "Label", "MaskedFrame", "VideoFacts", "export", "masked_frame"]
