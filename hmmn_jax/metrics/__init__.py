"""Metrics of masks that are given as arrays."""
