"""Evaluations: one file per benchmark. `base` has the fields that all of them share."""
