"""What all evaluations share, to start a config of your own from; `hmmn_jax.evaluation.benchmarks` explains each field."""

from hmmn_jax.evaluation.benchmarks import base, paper

__all__ = ["base", "paper"]
