"""Sessions: annotated frames of a video, propagation in both directions, and corrections."""

from hmmn_jax.session.results import FrameResult
from hmmn_jax.session.session import Session

__all__ = ["FrameResult", "Session"]
