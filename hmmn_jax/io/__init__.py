"""Files, images, masks, video: reading and writing."""
