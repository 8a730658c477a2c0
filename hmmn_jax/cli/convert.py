"""Converts checkpoints. This module implements `convert_weights.py` and `hmmn-jax convert`."""

import argparse

import numpy as np

from hmmn_jax.checkpoints.pretrained import from_pretrained, recognise
from hmmn_jax.checkpoints.store import (
    METADATA_KEY,
    config_to_json,
    find_checkpoint,
    load_checkpoint,
    load_config,
    save_checkpoint,
)
from hmmn_jax.checkpoints.torch_file import read_torch_file, write_torch_file
from hmmn_jax.checkpoints.torch_weights import in_float16, to_torch
from hmmn_jax.errors import CheckpointError, ConfigError
from hmmn_jax.io.files import lies_there
from hmmn_jax.io.new_file import EXISTS
from hmmn_jax.model import HMMNConfig


def convert_from_torch(options: argparse.Namespace) -> None:
    """Converts a PyTorch checkpoint to a checkpoint folder."""
    variables, config = load_checkpoint(options.file)
    save_checkpoint(options.out, variables, config)
    print(f"{options.file} -> {options.out}: {count(to_torch(variables, config))}")


def convert_to_torch(options: argparse.Namespace) -> None:
    """Converts a checkpoint folder to a PyTorch checkpoint. The metadata of a .safetensors file contains the config."""
    if lies_there(options.file):
        raise CheckpointError(f"{options.file}: {EXISTS}")
    variables, config = load_checkpoint(options.checkpoint)
    tensors = to_torch(variables, config)
    if options.half:
        tensors = in_float16(tensors)
    write_torch_file(options.file, tensors, {METADATA_KEY: config_to_json(config)})
    print(f"{options.checkpoint} -> {options.file}: {count(tensors)}")


def convert_imagenet(options: argparse.Namespace) -> None:
    """Writes initial weights: ImageNet weights for the backbones of both encoders, and random weights for the other layers."""
    if not 0 <= options.seed < 2**32:
        raise ConfigError(f"--seed is {options.seed}, expected 0 to {2**32 - 1}")
    tensors = read_torch_file(options.file)
    kind = recognise(tensors)
    if options.config is not None:
        config = load_config(options.config)
    else:
        config = HMMNConfig() if kind is None else HMMNConfig(backbone=kind())
    variables = from_pretrained(tensors, config, options.seed, str(options.file))
    save_checkpoint(options.out, variables, config)
    print(
        f"{options.file} -> {options.out}: {count(to_torch(variables, config))}. "
        f"The layers outside the backbones were initialised with seed {options.seed}."
    )


def inspect_checkpoint(options: argparse.Namespace) -> None:
    """Lists the tensors of a checkpoint. For a checkpoint folder, shows the official PyTorch names."""
    path = find_checkpoint(options.file)
    tensors = to_torch(*load_checkpoint(path)) if path.is_dir() else read_torch_file(path)
    for name, tensor in tensors.items():
        print(f"{name:<50}  {'x'.join(map(str, tensor.shape)) or '-':<14}  {tensor.dtype}")
    print(count(tensors))


def count(tensors: dict[str, np.ndarray]) -> str:
    """Returns the numbers of tensors, parameters and bytes as text.

    Parameters are weights, biases and scales, but not BatchNorm statistics.
    """
    parameters = sum(t.size for name, t in tensors.items() if name.endswith((".weight", ".bias", ".scale")))
    return f"{len(tensors)} tensors, {parameters:,} parameters, {sum(t.nbytes for t in tensors.values()):,} bytes"
