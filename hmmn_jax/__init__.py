"""HMMN in JAX: Hierarchical Memory Matching Networks for video object segmentation."""

import importlib
from typing import TYPE_CHECKING, Any

from hmmn_jax.version import __version__

if TYPE_CHECKING:
    from hmmn_jax.checkpoints.store import load_checkpoint
    from hmmn_jax.inference import Segmenter
    from hmmn_jax.model import HMMN, HMMNConfig
    from hmmn_jax.session import Session

__all__ = ["HMMN", "HMMNConfig", "Segmenter", "Session", "__version__", "load_checkpoint"]

_HOMES = {
    "HMMN": "model",
    "HMMNConfig": "model",
    "Segmenter": "inference",
    "Session": "session",
    "load_checkpoint": "checkpoints.store",
}


def __getattr__(name: str) -> Any:
    """Imports a public name on first use, so that programs can report invalid flags before the slow import of JAX."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
