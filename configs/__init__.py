"""Experiment configs, one file per experiment.

Each docstring contains the command. The docstrings of training configs also contain the expected result and the cost.
"""
