"""Starting weights: both trunks from a ResNet-50 trained on ImageNet, the new layers drawn at random."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from hmmn_jax.checkpoints.torch_weights import check_shapes, from_torch, to_torch, torch_shapes, without_prefix
from hmmn_jax.model import HMMN, HMMNConfig

_LAYERS = {"res2": "layer1", "res3": "layer2", "res4": "layer3"}
_NEW = ("mean", "std", "conv1_m", "conv1_o")  # parts of the encoders that a ResNet lacks
_UNUSED = ("layer4.", "fc.")  # parts of a ResNet that the trunks lack


def from_resnet50(
    tensors: Mapping[str, np.ndarray], config: HMMNConfig, seed: int = 0, source: str = "checkpoint"
) -> dict[str, Any]:
    """torchvision's ResNet-50 -> variables of `HMMN(config)`, as `from_torch` gives them.

    Args:
      tensors: by torchvision's names, all of which may have a prefix such as `module.`; `layer4` and `fc` are ignored, and
        the counters `num_batches_tracked`, which older files lack, are 0 where missing.
      config: of the model, with BatchNorm.
      seed: of the mask's convolutions, the heads and the decoder.
      source: the file to name in errors.

    Raises:
      MismatchError: missing, surplus and misshapen tensors; ten of them are listed.
    """
    shapes = torch_shapes(config)
    names = {name: found for name in shapes if (found := _resnet_name(name))}
    tensors = without_prefix(tensors, names.values(), source)
    tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(_UNUSED)}
    counters = [name for name in names.values() if name.endswith(".num_batches_tracked")]
    tensors = {name: np.zeros((), np.int64) for name in counters} | tensors
    expected = {found: shapes[name] for name, found in names.items()}
    check_shapes({name: tensor.shape for name, tensor in tensors.items()}, expected, source)
    fresh = to_torch(_random_variables(config, jax.random.key(seed)), config)
    return from_torch(fresh | {name: tensors[found] for name, found in names.items()}, config, source)


def is_resnet(tensors: Mapping[str, np.ndarray]) -> bool:
    """Whether tensors have names that torchvision's ResNets have, and HMMN has not."""
    return any(".layer1." in f".{name}" for name in tensors)


def _resnet_name(official: str) -> str | None:
    """What torchvision calls a tensor of either trunk; None for the other tensors."""
    module, _, name = official.partition(".")
    part, _, rest = name.partition(".")
    if module not in ("Encoder_M", "Encoder_Q") or part in _NEW:
        return None
    return f"{_LAYERS.get(part, part)}.{rest}"


@functools.partial(jax.jit, static_argnums=0)
def _random_variables(config: HMMNConfig, key: jax.Array) -> dict[str, Any]:
    return HMMN(config).init_variables(key)
