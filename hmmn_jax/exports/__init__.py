"""Masks of a video in the formats of other programs: PNGs, layers with soft edges, COCO and YTVIS JSON, movies."""

from hmmn_jax.exports.export import KINDS, export
from hmmn_jax.exports.exporter import Exporter, Label, MaskedFrame, VideoFacts

__all__ = ["KINDS", "Exporter", "Label", "MaskedFrame", "VideoFacts", "export"]
