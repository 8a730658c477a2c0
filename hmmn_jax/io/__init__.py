"""Reads and writes files, images, masks and videos."""
