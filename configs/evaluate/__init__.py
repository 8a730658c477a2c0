"""Evaluation configs, one file per benchmark. `base` contains the fields that all of them share."""
