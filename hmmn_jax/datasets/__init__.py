"""Finds frames and masks in the layouts of DAVIS and YouTube-VOS, in data sets of still images, and in folders of frames.

TensorFlow is not required.
"""
