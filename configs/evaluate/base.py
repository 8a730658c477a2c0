"""Defaults of all evaluations, on which you can base your own config. `hmmn_jax.evaluation.benchmarks` explains each field."""

from hmmn_jax.evaluation.benchmarks import base, paper

__all__ = ["base", "paper"]
