"""Figures that masks get: arrays in, figures out."""
