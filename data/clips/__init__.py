"""Creates batches of training clips from a seed and sample numbers."""

from data.clips.pipeline import make_batches

__all__ = ["make_batches"]
