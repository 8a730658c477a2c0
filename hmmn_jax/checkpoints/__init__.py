"""Checkpoints on disk: Orbax folders with their config, PyTorch files, names of tensors, pretrained backbones."""
