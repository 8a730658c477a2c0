"""Metrics for masks in memory."""
