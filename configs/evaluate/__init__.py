"""Evaluation configs, one file per benchmark. `base` contains the fields that all benchmarks share."""
