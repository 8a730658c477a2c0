"""Evaluations: one file a benchmark; `base` has the fields that all of them share."""
