"""Defaults of all evaluations. Start your own config from them. `hmmn_jax.evaluation.benchmarks` explains each field."""

from hmmn_jax.evaluation.benchmarks import base, paper

__all__ = ["base", "paper"]
