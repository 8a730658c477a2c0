"""Dataset builder for single images with masks."""
