"""Single images with masks."""
