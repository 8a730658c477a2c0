"""Reading and writing of files, images, masks and video."""
