"""Annotate any frames of a video, propagate in both directions, correct, and go on."""

from hmmn_jax.session.session import FrameResult, Session

__all__ = ["FrameResult", "Session"]
