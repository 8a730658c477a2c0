"""Experiment configs, one file per experiment. Each docstring contains the command, the expected result and the cost."""
