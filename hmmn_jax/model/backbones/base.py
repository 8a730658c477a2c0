"""The interface of backbones: `Backbone` and `BackboneModule`.

A backbone consists of a frozen dataclass with its sizes, which derives from `Backbone` and is registered under a name, and the
Linen module that this dataclass creates. Encoders, BatchNorm folding and checkpoints use only this interface. An example is in
`docs/extend.md`.
"""

import abc
import dataclasses
import functools
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, ClassVar, NamedTuple, TypeVar

import flax
import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from hmmn_jax.model.layers import Compute

Variables = dict[str, Any]  # trees of arrays by collection ("params", "batch_stats", "constants")
Path = tuple[str, ...]  # path of a leaf in the variables, collection first

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
    """Features of a frame, `[b,h,w,c]` each.

    Attributes:
        s4: at stride 4.
        s8: at stride 8.
        s16: at stride 16.
    """

    s4: Float[Array, "b h4 w4 c4"]
    s8: Float[Array, "b h8 w8 c8"]
    s16: Float[Array, "b h16 w16 c16"]


class BackboneModule(nn.Module):
    """The network of a backbone. Its first layer is linear, so the part of the frame is computed once for all objects."""

    def frame(self, frame: Float[Array, "b H W 3"]) -> Float[Array, "b h w c"]:
        """Computes the frame's contribution to the first layer.

        Args:
            frame: RGB in [0, 1], not normalised, zero-padded to sides that are multiples of 16.
        """
        raise NotImplementedError

    def masks(self, masks: Float[Array, "b H W 2"]) -> Float[Array, "b h w c"]:
        """Computes the masks' contribution to the first layer. The sum of both parts is the first layer's output.

        Args:
            masks: probabilities of an object, and of all other objects together.
        """
        raise NotImplementedError

    def __call__(self, stem: Float[Array, "b h w c"]) -> Features:
        """Computes all layers after the first."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Backbone(abc.ABC):
    """The sizes of a backbone; base class of a frozen dataclass. Hashable; stored in JSON as its name and fields."""

    name: ClassVar[str]  # set by `register`

    @abc.abstractmethod
    def make(self, compute: Compute, with_masks: bool, name: str | None = None) -> BackboneModule:
        """Makes the module.

        Args:
            compute: compute dtype and options of its layers.
            with_masks: whether the module is for the memory encoder, which calls `masks`.
            name: name of the module.
        """

    @property
    def has_norm(self) -> bool:
        """Whether there are normalisation layers. Their parameters stay in float32 for every compute dtype."""
        return False

    def fold(self, variables: Variables) -> tuple[Variables, "Backbone"]:
        """Folds BatchNorm into convolutions, without changing the function.

        The default returns both unchanged. `hmmn_jax.model.folding.fold_norms` does the arithmetic.

        Args:
            variables: variables of one module.

        Returns:
            The folded variables, and the backbone that they belong to.
        """
        return variables, self

    def torch_names(self, with_masks: bool) -> dict[str, Path]:
        """Maps names in PyTorch files to variables of a module: `conv1.weight` -> `("params", "conv1", "kernel")`.

        The default name is the dotted path; the last part is PyTorch's name. Kernels `[k,k,c,o]` are transposed to OIHW.
        """
        return {".".join((*path[1:-1], _TORCH_LEAVES.get(path[-1], path[-1]))): path for path in self.shapes(with_masks)}

    def pretrained_names(self) -> dict[str, str]:
        """Maps names of `torch_names` to names in files of ImageNet weights. Variables that such files lack are omitted."""
        return {}

    def pretrained_ignores(self, name: str) -> bool:
        """Whether a tensor in a file of ImageNet weights belongs to a layer that is not used."""
        return False

    @classmethod
    def recognises(cls, names: Collection[str]) -> bool:
        """Whether these are the names of the tensors in a file of ImageNet weights for this backbone."""
        return False

    def shapes(self, with_masks: bool) -> dict[Path, tuple[int, ...]]:
        """Returns the path and shape of each variable of a module."""
        return dict(_shapes(self, with_masks))

    def to_dict(self) -> dict[str, Any]:
        """Returns name and fields as values for JSON."""
        return {"name": self.name, **dataclasses.asdict(self)}

    def require_groups(self, norm: str, norm_groups: int, widths: Iterable[int]) -> None:
        """Raises ValueError with the name of the field, unless `norm_groups` divides all widths or `norm` is not "group"."""
        for width in widths if norm == "group" else ():
            expected = f"a divisor of every width; {width} is not a multiple"
            self.require(width % norm_groups == 0, "norm_groups", expected)

    def require(self, condition: bool, field: str, expected: str) -> None:
        """Raises ValueError with the name of a field, unless the condition holds."""
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
    """Registers the dataclass of a backbone under a name, which configs and checkpoints use. A class decorator."""

    def decorate(kind: Kind) -> Kind:
        kind.name = name
        _REGISTERED[name] = kind
        return kind

    return decorate


def registered() -> Mapping[str, type[Backbone]]:
    """Returns the registered backbones by name."""
    return _REGISTERED


def backbone_from_dict(fields: Mapping[str, Any]) -> Backbone:
    """Inverts `Backbone.to_dict`. Raises ValueError for an unknown name or field, or an invalid value."""
    fields = dict(fields)
    name = fields.pop("name", None)
    if name not in _REGISTERED:
        raise ValueError(f"unknown backbone {name!r}; known are {', '.join(sorted(_REGISTERED))}")
    kind = _REGISTERED[name]
    if unknown := sorted(set(fields) - {field.name for field in dataclasses.fields(kind)}):
        raise ValueError(f"{kind.__name__} has no field {', '.join(unknown)}: was it written by a newer version?")
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()})


class Normalise(nn.Module):
    """Subtracts ImageNet's mean and divides by its standard deviation; both are constants that are stored in a checkpoint."""

    @nn.compact
    def __call__(self, frame: Float[Array, "b h w 3"]) -> Float[Array, "b h w 3"]:
        """RGB in [0, 1], zero-padded before the normalisation, as the released weights expect."""
        mean = self.variable("constants", "mean", jnp.array, IMAGENET_MEAN).value
        std = self.variable("constants", "std", jnp.array, IMAGENET_STD).value
        return (frame - mean) / std
