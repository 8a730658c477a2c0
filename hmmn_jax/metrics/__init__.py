"""Metrics of masks in memory."""
