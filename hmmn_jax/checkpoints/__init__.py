"""Reads, writes and converts checkpoints: Orbax folders, PyTorch files and pretrained backbones."""
