"""Checkpoints on disk: Orbax folders with a config, PyTorch files, tensor names and pretrained backbones."""
