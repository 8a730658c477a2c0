"""Evaluation: writes masks, pictures and movies of segmented videos, and scores them with J and F."""
