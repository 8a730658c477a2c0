"""Defines the interface of backbones: `Backbone` and `BackboneModule`.

A backbone consists of a frozen dataclass and a Linen module. The dataclass contains the dimensions of the network, derives from
`Backbone`, and is registered under a name. The dataclass creates the Linen module. Encoders, BatchNorm folding and checkpoints
use backbones only through this interface. See `docs/extend.md` for an example of a backbone.
"""

import abc
import dataclasses
import functools
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar

import flax
import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from hmmn_jax.model.layers import Compute

Variables = dict[str, Any]  # for each collection ("params", "batch_stats", "constants"), a tree of arrays
Path = tuple[str, ...]  # path of a leaf in the variables; the first element is the collection


class Block(Protocol):
    """A block of a backbone. Blocks are Linen modules."""

    def keeps_shape(self, inputs: int) -> bool:
        """Returns whether the output for an input with `inputs` channels has the shape of the input."""


Stage = Mapping[str, Callable[..., Any]]  # for each block, its name in the variables and a function that makes the `Block`

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_TORCH_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "mean": "running_mean",
    "var": "running_var",
    "count": "num_batches_tracked",
}


class Features(NamedTuple):
    """Features of a frame, each of shape `[b,h,w,c]`.

    Attributes:
        s4: features at stride 4.
        s8: features at stride 8.
        s16: features at stride 16.
    """

    s4: Float[Array, "b h4 w4 c4"]
    s8: Float[Array, "b h8 w8 c8"]
    s16: Float[Array, "b h16 w16 c16"]


class BackboneModule(nn.Module):
    """Base class of the Linen modules of backbones.

    The first layer is linear, so the frame's contribution to this layer is computed only once for all objects.
    """

    def frame(self, frame: Float[Array, "b H W 3"]) -> Float[Array, "b h w c"]:
        """Computes the frame's contribution to the first layer.

        Args:
            frame: RGB image in [0, 1], not yet normalised, with sides that are zero-padded to multiples of 16.
        """
        raise NotImplementedError

    def masks(self, masks: Float[Array, "b H W 2"]) -> Float[Array, "b h w c"]:
        """Computes the masks' contribution to the first layer.

        The output of the first layer is the sum of the contributions of the frame and the masks.

        Args:
            masks: the probability of an object, and the probability of all other objects together.
        """
        raise NotImplementedError

    def __call__(self, stem: Float[Array, "b h w c"]) -> Features:
        """Computes all layers after the first.

        The default implementation applies `before_blocks`, and then all blocks in `self.stages`. The method `setup` makes these
        blocks with `Backbone.stages`.
        """
        x, outputs = self.before_blocks(stem), []
        for stage in self.stages:
            for block in stage:
                x = block(x)
            outputs.append(x)
        return Features(*outputs)

    def before_blocks(self, stem: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
        """Computes the layers between the first layer and the blocks. Only networks with `Backbone.stages` need this method."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Backbone(abc.ABC):
    """Base class of the frozen, hashable dataclasses that contain the dimensions of a backbone.

    In JSON, a backbone is stored as its name and fields.
    """

    name: ClassVar[str]  # set by `register`

    @abc.abstractmethod
    def make(self, compute: Compute, with_masks: bool, name: str | None = None) -> BackboneModule:
        """Creates the Linen module of the backbone.

        Args:
            compute: compute dtype and options of the layers.
            with_masks: whether the module is for the memory encoder, which calls `masks`.
            name: name of the module.
        """

    def stages(self, compute: Compute) -> tuple[Stage, ...]:
        """Returns the blocks of the network in three consecutive stages, whose outputs are the features at strides 4, 8 and 16.

        On a CPU, `Segmenter` compiles identical blocks only once. The default implementation returns no stages, so that the
        network is compiled as a whole.
        """
        return ()

    @property
    def has_norm(self) -> bool:
        """Whether the backbone has normalisation layers. Parameters of these layers are float32 for every compute dtype."""
        return False

    def fold(self, variables: Variables) -> tuple[Variables, "Backbone"]:
        """Folds BatchNorm into convolutions, without changing the function that the network computes.

        The default implementation folds nothing. Other implementations can use `hmmn_jax.model.folding.fold_norms`.

        Args:
            variables: variables of one module.

        Returns:
            The folded variables, and a backbone that matches these variables.
        """
        return variables, self

    def torch_names(self, with_masks: bool) -> dict[str, Path]:
        """Maps names in PyTorch files to variables of a module: `conv1.weight` -> `("params", "conv1", "kernel")`.

        By default, the PyTorch name is the path of the variable without its collection, joined by dots. The last
        element is replaced by PyTorch's name, for example `kernel` by `weight`. Kernels `[k,k,c,o]` are transposed to OIHW.
        """
        return {".".join((*path[1:-1], _TORCH_LEAVES.get(path[-1], path[-1]))): path for path in self.shapes(with_masks)}

    def pretrained_names(self) -> dict[str, str]:
        """Maps the names from `torch_names` to names in files of ImageNet weights.

        Variables that are missing from files of ImageNet weights are omitted.
        """
        return {}

    def pretrained_ignores(self, name: str) -> bool:
        """Returns whether a tensor in a file of ImageNet weights belongs to a layer that the backbone does not use."""
        return False

    @classmethod
    def recognises(cls, names: Collection[str]) -> bool:
        """Returns whether tensors with these names are ImageNet weights for this backbone."""
        return False

    def shapes(self, with_masks: bool) -> dict[Path, tuple[int, ...]]:
        """Returns the path and shape of each variable of a module."""
        return dict(_shapes(self, with_masks))

    def to_dict(self) -> dict[str, Any]:
        """Returns the name and the fields as JSON values."""
        return {"name": self.name, **dataclasses.asdict(self)}

    def require_groups(self, norm: str, norm_groups: int, widths: Iterable[int]) -> None:
        """Raises ValueError if `norm` is "group" and `norm_groups` does not divide all widths."""
        for width in widths if norm == "group" else ():
            expected = f"a divisor of every width, including {width}"
            self.require(width % norm_groups == 0, "norm_groups", expected)

    def require(self, condition: bool, field: str, expected: str) -> None:
        """Raises ValueError with the name and the value of a field if the condition is false."""
        if not condition:
            raise ValueError(f"{type(self).__name__}.{field} is {getattr(self, field)!r}, expected {expected}")


@functools.cache  # cached, because tracing a deep network is slow
def _shapes(backbone: Backbone, with_masks: bool) -> dict[Path, tuple[int, ...]]:
    def init(key: jax.Array) -> Any:
        return backbone.make(Compute(), with_masks).init(key, jnp.zeros((1, 16, 16, 3)), with_masks, method=_run)

    variables = flax.traverse_util.flatten_dict(jax.eval_shape(init, jax.random.key(0)))
    return {path: leaf.shape for path, leaf in variables.items()}


def _run(module: BackboneModule, frame: jax.Array, with_masks: bool) -> Features:
    stem = module.frame(frame)
    return module(stem + module.masks(frame[..., :2]) if with_masks else stem)


_REGISTERED: dict[str, type[Backbone]] = {}
Kind = TypeVar("Kind", bound=type[Backbone])


def register(name: str) -> Callable[[Kind], Kind]:
    """Returns a class decorator that registers a backbone's dataclass under `name`, the name in configs and checkpoints."""

    def decorate(kind: Kind) -> Kind:
        kind.name = name
        _REGISTERED[name] = kind
        return kind

    return decorate


def registered() -> Mapping[str, type[Backbone]]:
    """Returns a mapping from names to registered backbones."""
    return _REGISTERED


def backbone_from_dict(fields: Mapping[str, Any]) -> Backbone:
    """Creates a backbone from the result of `Backbone.to_dict`.

    Raises ValueError if the name or a field is unknown, or if a value is invalid.
    """
    fields = dict(fields)
    name = fields.pop("name", None)
    if name not in _REGISTERED:
        raise ValueError(f"unknown backbone {name!r}, expected one of {', '.join(sorted(_REGISTERED))}")
    kind = _REGISTERED[name]
    if unknown := sorted(set(fields) - {field.name for field in dataclasses.fields(kind)}):
        raise ValueError(f"{kind.__name__} has no field {', '.join(unknown)}. A newer version of hmmn-jax may be required")
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()})


class Normalise(nn.Module):
    """Subtracts ImageNet's mean and divides by ImageNet's standard deviation.

    Checkpoints contain the mean and the standard deviation.
    """

    @nn.compact
    def __call__(self, frame: Float[Array, "b h w 3"]) -> Float[Array, "b h w 3"]:
        """Normalises RGB in [0, 1]. The frame is zero-padded before the normalisation, as the released weights require."""
        mean = self.variable("constants", "mean", jnp.array, IMAGENET_MEAN).value
        std = self.variable("constants", "std", jnp.array, IMAGENET_STD).value
        return (frame - mean) / std
