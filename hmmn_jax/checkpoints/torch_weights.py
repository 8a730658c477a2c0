"""Converts between the tensors of the official PyTorch checkpoint and the variables of this package."""

from collections.abc import Container, Mapping
from itertools import zip_longest
from typing import Any, TypeVar

import flax
import numpy as np

from hmmn_jax.errors import MismatchError
from hmmn_jax.io.notes import note
from hmmn_jax.model import HMMNConfig
from hmmn_jax.model.hmmn import abstract_variables

Tensor = TypeVar("Tensor")
Variables = dict[str, Any]
Path = tuple[str, ...]

_HEADS = (("KV_M_r4", "s16"), ("KV_M_r3", "s8"), ("KV_M_r2", "s4"))


def name_table(config: HMMNConfig) -> dict[str, Path]:
    """Maps the official name of every tensor, without `module.`, to a path in the variables.

    The first element of a path is the collection, such as "params". The names are in the order of the official state dict. If
    the dimensions differ from those of the published model, the names are those that the official code would use.
    """
    table: dict[str, Path] = {}

    def conv(official: str, path: Path, bias: bool) -> None:
        table[f"{official}.weight"] = ("params", *path, "kernel")
        if bias:
            table[f"{official}.bias"] = ("params", *path, "bias")

    def key(official: str, path: Path) -> None:
        conv(official, path, bias=True)
        if config.normalise_keys:
            table[f"{official}.scale"] = ("params", *path, "scale")

    def backbone(official: str, encoder: str, with_masks: bool) -> None:
        for name, (collection, *path) in config.backbone.torch_names(with_masks).items():
            table[f"{official}.{name}"] = (collection, encoder, "backbone", *path)

    def res_block(official: str, path: Path) -> None:
        for layer in ("conv1", "conv2"):
            conv(f"{official}.{layer}", (*path, layer), bias=True)

    backbone("Encoder_M", "memory_encoder", with_masks=True)
    backbone("Encoder_Q", "query_encoder", with_masks=False)
    heads = _HEADS if config.use_topk_read else _HEADS[:1]
    for official, stride in heads:
        query = official.replace("_M_", "_Q_")
        key(f"{official}.Key", ("memory_encoder", f"key_{stride}"))
        conv(f"{official}.Value", ("memory_encoder", f"value_{stride}"), bias=True)
        key(f"{query}.Key", ("query_encoder", f"key_{stride}"))
        if stride == "s16":
            conv(f"{query}.Value", ("query_encoder", f"value_{stride}"), bias=True)
    conv("Decoder.convFM", ("decoder", "conv_readout"), bias=True)
    res_block("Decoder.ResMM", ("decoder", "res_s16"))
    for official, here in (("Decoder.RF3", "refine_s8"), ("Decoder.RF2", "refine_s4")):
        conv(f"{official}.convFS", ("decoder", here, "conv_skip"), bias=True)
        if config.use_topk_read:
            conv(f"{official}.convMemory", ("decoder", here, "conv_memory"), bias=False)
        res_block(f"{official}.ResFS", ("decoder", here, "res_skip"))
        res_block(f"{official}.ResMM", ("decoder", here, "res_out"))
    conv("Decoder.pred2", ("decoder", "conv_predict"), bias=True)
    return table


def from_torch(tensors: Mapping[str, np.ndarray], config: HMMNConfig, source: str = "checkpoint") -> Variables:
    """Converts official tensors to the variables of `HMMN(config)`, as NumPy arrays.

    Kernels are transposed from OIHW to HWIO. Floats are converted to float32, without loss for float16 and bfloat16. A common
    prefix of all names is removed; see `without_prefix`.

    Raises:
      MismatchError: tensors are missing, unknown or have the wrong shape. The message lists up to ten tensors.
    """
    tensors = without_prefix(tensors, torch_shapes(config), source)
    check_shapes({name: tensor.shape for name, tensor in tensors.items()}, torch_shapes(config), source)
    flat = {path: _to_flax(tensors[name], path) for name, path in name_table(config).items()}
    return flax.traverse_util.unflatten_dict(flat)


def to_torch(variables: Variables, config: HMMNConfig) -> dict[str, np.ndarray]:
    """Converts variables to a dict of official tensors in the official order and layout. Names do not start with `module.`."""
    flat = flax.traverse_util.flatten_dict(variables)
    return {name: _to_torch(np.asarray(flat[path]), path) for name, path in name_table(config).items()}


def in_float16(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Rounds floats to float16, and leaves integers unchanged. `from_torch` accepts the result.

    Raises:
      MismatchError: a number is too large for float16.
    """
    with np.errstate(over="ignore"):
        halves = {name: tensor.astype(np.float16) if tensor.dtype.kind == "f" else tensor for name, tensor in tensors.items()}
    for name, half in halves.items():
        if not np.array_equal(np.isfinite(half), np.isfinite(tensors[name])):
            raise MismatchError(f"{name}: {np.abs(tensors[name]).max():.3g} is too large for float16. The maximum is 65504")
    return halves


Shapes = Mapping[str, tuple[int, ...]]


def without_prefix(tensors: Mapping[str, Tensor], expected: Container[str], source: str) -> dict[str, Tensor]:
    """Removes prefixes that wrappers add to every name, such as `module.`, `_orig_mod.` and `model.`, even if repeated.

    Args:
      tensors: tensors by name.
      expected: the tensor names of the model. If removing prefixes does not yield any of these names, all names are unchanged.
      source: name of the file, for the note about a removed prefix. No note is printed for `module.`, because the released
        checkpoint has this prefix.
    """
    first, prefix = next(iter(tensors), ""), ""
    while all(name.startswith(prefix) for name in tensors) and len(prefix) < len(first):
        if any(name.removeprefix(prefix) in expected for name in tensors):
            if prefix not in ("", "module."):
                note(f"{source}: every tensor name begins with {prefix!r}. This prefix is removed")
            return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
        prefix += first.removeprefix(prefix).partition(".")[0] + "."
    return dict(tensors)


def check_shapes(found: Shapes, expected: Shapes, source: str) -> None:
    """Raises MismatchError with up to ten details if tensors are missing, unknown or have the wrong shape."""
    missing = [f"{name} {shape} is missing" for name, shape in expected.items() if name not in found]
    surplus = [f"{name} {shape} is not in the model" for name, shape in found.items() if name not in expected]
    misshapen = [
        f"{name} has the shape {found[name]}, expected {shape}"
        for name, shape in expected.items()
        if name in found and found[name] != shape
    ]
    if problems := [problem for trio in zip_longest(missing, surplus, misshapen) for problem in trio if problem]:
        another = (
            ". The file contains no tensor of the model, so the file belongs to a different network"
            if len(missing) == len(expected)
            else ""
        )
        raise MismatchError(f"{source}: {len(problems)} tensors do not match the model{another}", problems)


def torch_shapes(config: HMMNConfig) -> dict[str, tuple[int, ...]]:
    """Maps official names to shapes in PyTorch's layout."""
    flat = flax.traverse_util.flatten_dict(abstract_variables(config))
    return {name: _torch_shape(flat[path].shape, path) for name, path in name_table(config).items()}


def _torch_shape(shape: tuple[int, ...], path: Path) -> tuple[int, ...]:
    if path[-1] == "kernel":
        return (shape[3], shape[2], shape[0], shape[1])
    return (1, 3, 1, 1) if path[0] == "constants" else shape


def _to_flax(tensor: np.ndarray, path: Path) -> np.ndarray:
    if path[-1] == "count":
        return tensor.astype(np.int64)
    tensor = tensor.astype(np.float32)
    if path[-1] == "kernel":
        return np.ascontiguousarray(tensor.transpose(2, 3, 1, 0))
    return tensor.reshape(3) if path[0] == "constants" else tensor


def _to_torch(array: np.ndarray, path: Path) -> np.ndarray:
    if path[-1] == "count":
        return array.astype(np.int64)
    if path[-1] == "kernel":
        return np.ascontiguousarray(array.transpose(3, 2, 0, 1))
    return array.reshape(1, 3, 1, 1) if path[0] == "constants" else array
