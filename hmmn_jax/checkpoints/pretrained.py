"""Starting weights: both backbones from a network trained on ImageNet, the new layers drawn at random."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from hmmn_jax.checkpoints.torch_weights import check_shapes, from_torch, to_torch, torch_shapes, without_prefix
from hmmn_jax.errors import MismatchError
from hmmn_jax.model import HMMN, HMMNConfig
from hmmn_jax.model.backbones import Backbone, registered

ENCODERS = ("Encoder_M", "Encoder_Q")


def from_pretrained(
    tensors: Mapping[str, np.ndarray], config: HMMNConfig, seed: int = 0, source: str = "checkpoint"
) -> dict[str, Any]:
    """A network for images, such as torchvision's ResNet-50 -> variables of `HMMN(config)`, as `from_torch` gives them.

    Args:
      tensors: by the names that the backbone's `pretrained_names` says, all of which may have a prefix such as `module.`.
        Tensors behind the used stages are ignored, and the counters `num_batches_tracked`, which older files lack,
        are 0 where missing.
      config: of the model, with BatchNorm.
      seed: of the mask's convolutions, the heads and the decoder.
      source: the file to name in errors.

    Raises:
      MismatchError: another kind of network than the backbone; missing, surplus and misshapen tensors, ten of which are listed.
    """
    backbone, kind = config.backbone, recognise(tensors)
    if not backbone.pretrained_names() or (kind is not None and not isinstance(backbone, kind)):
        found = "of an unknown network" if kind is None else f"of {kind.name!r}"
        raise MismatchError(f"{source}: weights {found}, but the backbone of the model is {backbone.name!r}")
    shapes = torch_shapes(config)
    names = {f"{encoder}.{name}": found for encoder in ENCODERS for name, found in backbone.pretrained_names().items()}
    tensors = without_prefix(tensors, names.values(), source)
    tensors = {name: tensor for name, tensor in tensors.items() if not backbone.pretrained_ignores(name)}
    counters = [name for name in names.values() if name.endswith(".num_batches_tracked")]
    tensors = {name: np.zeros((), np.int64) for name in counters} | tensors
    expected = {found: shapes[name] for name, found in names.items()}
    check_shapes({name: tensor.shape for name, tensor in tensors.items()}, expected, source)
    fresh = to_torch(_random_variables(config, jax.random.key(seed)), config)
    return from_torch(fresh | {name: tensors[found] for name, found in names.items()}, config, source)


def recognise(tensors: Mapping[str, np.ndarray]) -> type[Backbone] | None:
    """The registered backbone whose names these are; None for other files, such as those of an HMMN."""
    return next((kind for kind in registered().values() if kind.recognises(tensors.keys())), None)


@functools.partial(jax.jit, static_argnums=0)
def _random_variables(config: HMMNConfig, key: jax.Array) -> dict[str, Any]:
    return HMMN(config).init_variables(key)
