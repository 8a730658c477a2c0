"""Evaluation: what was segmented as masks, pictures and movies on disk, and its scores J and F."""
