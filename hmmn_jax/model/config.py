"""`HMMNConfig`: every size and switch of the network, frozen and hashable, so that it can be a static argument of `jax.jit`."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from hmmn_jax.model.backbones import Backbone, ResNet, backbone_from_dict
from hmmn_jax.model.layers import Compute
from hmmn_jax.model.sizes import WIDEST, is_finite, is_size

DTYPES = ("bfloat16", "float32", "float64")
_OF_RESNET = {field.name for field in dataclasses.fields(ResNet)}  # fields of `HMMNConfig` itself until version 0.1


@dataclasses.dataclass(frozen=True)
class HMMNConfig:
    """Sizes and switches of HMMN; the defaults are the released model's.

    Raises:
      ValueError: a value that no network can have, named with what was expected.
    """

    # What gives features at strides 4, 8 and 16, with its sizes; one network for the memory and one for the query.
    backbone: Backbone = ResNet()  # noqa: RUF009, frozen
    # Keys lose their mean over the frame and get a learned length, so that from the start a cell matches its like and few
    # others, and affinities stay within reach of a softmax: for training from scratch, which is not in the paper.
    normalise_keys: bool = False

    # Keys and values, memory and query alike.
    key_dim_s16: int = 128
    key_dim_s8: int = 128
    key_dim_s4: int = 64
    value_dim_s16: int = 512
    value_dim_s8: int = 256
    value_dim_s4: int = 128
    decoder_dim: int = 256

    # Kernel-guided read (stride 16): the arg-max looks inside `window` x `window` cells; the kernel of the previous frame has
    # deviation `sigma` cells, that of a slot `age` places older sigma * (sigma_growth * age + 1).
    use_kernel: bool = True
    window: int = 7
    sigma: float = 3.0
    sigma_growth: float = 0.5
    # In training the kernel is off, as its arg-max has no gradient. From scratch it helps: features that cannot tell things
    # apart yet are at least compared with what is near.
    kernel_in_training: bool = False

    # Top-k guided read (strides 8 and 4): the best `k_s8` (`k_s4`) coarse cells of each query cell are read in detail.
    use_topk_read: bool = True
    k_s8: int = 32
    k_s4: int = 8

    # Compute dtype ("bfloat16", "float32", ...); None computes in the dtype of the variables.
    dtype: str | None = None

    # 3x3 convolutions by Winograd's algorithm, in float32: faster on a CPU, 1e-4 away from exact at most; for inference.
    winograd: bool = False

    # Training: the backward pass computes each block of backbones and decoder again rather than hold all of its activations.
    remat: bool = False

    def __post_init__(self) -> None:
        self._require(isinstance(self.backbone, Backbone), "backbone", "a backbone, such as ResNet()")
        self._require(self.dtype in (None, *DTYPES), "dtype", f"None, {', '.join(DTYPES[:-1])} or {DTYPES[-1]}")
        for name in ("normalise_keys", "use_kernel", "kernel_in_training", "use_topk_read", "winograd", "remat"):
            self._require(isinstance(getattr(self, name), bool), name, "True or False")
        dims = (f"{kind}_dim_s{stride}" for kind in ("key", "value") for stride in (16, 8, 4))
        for name in (*dims, "decoder_dim"):
            self._require(is_size(getattr(self, name)), name, f"a whole number from 1 to {WIDEST}")
        self._require(is_size(self.window) and self.window % 2 == 1, "window", f"an odd number of cells up to {WIDEST}")
        self._require(is_finite(self.sigma) and self.sigma > 0, "sigma", "more than 0 cells")
        self._require(is_finite(self.sigma_growth) and self.sigma_growth >= 0, "sigma_growth", "0 or more")
        self._require(is_size(self.k_s8), "k_s8", f"a whole number from 1 to {WIDEST}")
        self._require(is_size(self.k_s4, self.k_s8), "k_s4", f"1 to k_s8 = {self.k_s8} (the best of the stride-8 cells)")

    def _require(self, condition: bool, name: str, expected: str) -> None:
        if not condition:
            raise ValueError(f"HMMNConfig.{name} is {getattr(self, name)!r}, expected {expected}")

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values that JSON can hold, the backbone as its name and fields."""
        return dataclasses.asdict(self) | {"backbone": self.backbone.to_dict()}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "HMMNConfig":
        """The inverse of `to_dict`; absent fields take their defaults, unknown ones raise ValueError.

        Sizes of a ResNet may stand beside the other fields, as they did until version 0.1.
        """
        fields = dict(fields)
        if "backbone" not in fields:
            fields["backbone"] = {"name": ResNet.name} | {name: fields.pop(name) for name in _OF_RESNET & fields.keys()}
        if isinstance(fields["backbone"], Mapping):
            fields["backbone"] = backbone_from_dict(fields["backbone"])
        unknown = sorted(set(fields) - {field.name for field in dataclasses.fields(cls)})
        if unknown:
            raise ValueError(f"HMMNConfig has no field {', '.join(unknown)}: was it written by a newer version?")
        return cls(**fields)

    @property
    def compute(self) -> Compute:
        """How layers compute."""
        return Compute(self.dtype, self.winograd, self.remat)

    def replace(self, **changes: Any) -> "HMMNConfig":
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)
