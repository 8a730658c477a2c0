"""Files, images, masks, video: what lies on disk, read and written."""
