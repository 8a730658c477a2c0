"""Writes masks, pictures and movies of segmented videos, and scores the masks with J and F."""
