"""Annotate any frames of a video, propagate in both directions, correct, and continue."""

from hmmn_jax.session.results import FrameResult
from hmmn_jax.session.session import Session

__all__ = ["FrameResult", "Session"]
