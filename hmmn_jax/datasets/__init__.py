"""Folder layouts of DAVIS, YouTube-VOS, still images, and plain frames. This package does not use TensorFlow."""
