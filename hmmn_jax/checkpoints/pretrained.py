"""Creates initial weights for training.

The weights of both encoders' backbones are copied from a network that was trained on ImageNet. All other weights are random.
"""

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
    """Converts the weights of an image classifier, such as torchvision's ResNet-50, to variables of `HMMN(config)`.

    Args:
      tensors: the tensors of the classifier, by name. The expected names are the values of the backbone's `pretrained_names`.
        All names may have a common prefix, such as `module.`. Tensors of layers that the backbone does not use are ignored.
        Files of older PyTorch versions do not contain the counters `num_batches_tracked`. Missing counters are set to 0.
      config: the config of the model. The model must have BatchNorm.
      seed: seed for the random weights of the mask convolutions, the heads and the decoder.
      source: name of the file, for error messages.

    Raises:
      MismatchError: the classifier does not match the backbone, or tensors are missing, unknown or have the wrong shape.
    """
    backbone, kind = config.backbone, recognise(tensors)
    if not backbone.pretrained_names() or (kind is not None and not isinstance(backbone, kind)):
        found = "of an unknown network" if kind is None else f"of {kind.name!r}"
        raise MismatchError(f"{source}: the file contains weights {found}, but the backbone of the model is {backbone.name!r}")
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
    """Returns the registered backbone that matches the names of `tensors`, or None if no backbone matches."""
    return next((kind for kind in registered().values() if kind.recognises(tensors.keys())), None)


@functools.partial(jax.jit, static_argnums=0)
def _random_variables(config: HMMNConfig, key: jax.Array) -> dict[str, Any]:
    return HMMN(config).init_variables(key)
