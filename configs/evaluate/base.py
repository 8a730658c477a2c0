"""Default evaluation settings, which your own config can extend. `hmmn_jax.evaluation.benchmarks` explains each field."""

from hmmn_jax.evaluation.benchmarks import base, paper

__all__ = ["base", "paper"]
