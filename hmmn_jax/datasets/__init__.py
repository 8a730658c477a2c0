"""Folder layouts of DAVIS, YouTube-VOS, still images, and plain frames. No TensorFlow."""
