"""Provides sessions to annotate frames of a video, propagate the masks in both directions, and correct the masks."""

from hmmn_jax.session.results import FrameResult
from hmmn_jax.session.session import Session

__all__ = ["FrameResult", "Session"]
