"""Training clips: from a seed and a sample number to a batch."""

from data.clips.pipeline import make_batches

__all__ = ["make_batches"]
