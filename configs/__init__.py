"""Experiment configs, one file each. The docstrings contain the command, the expected result and the cost."""
