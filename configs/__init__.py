"""Experiment configs, one file per experiment.

The docstring of each config contains the command that runs the experiment. The docstrings of training configs also contain the
expected result and the cost.
"""
