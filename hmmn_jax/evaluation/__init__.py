"""Evaluation: pictures and movies of what was segmented."""
