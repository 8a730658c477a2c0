"""Training clips: everything between (seed, i) and a batch."""

from data.clips.pipeline import make_batches

__all__ = ["make_batches"]
