"""Defines `HMMNConfig`, the dimensions and options of the network.

`HMMNConfig` is hashable, so it can be a static argument of `jax.jit`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from hmmn_jax.model.backbones import Backbone, ResNet, backbone_from_dict
from hmmn_jax.model.layers import Compute
from hmmn_jax.model.sizes import WIDEST, is_finite, is_size

DTYPES = ("bfloat16", "float32", "float64")
_OF_RESNET = {field.name for field in dataclasses.fields(ResNet)}  # fields that `HMMNConfig` had in version 0.1


@dataclasses.dataclass(frozen=True)
class HMMNConfig:
    """The dimensions and options of HMMN. The default values describe the published network.

    Attributes:
        backbone: the backbone, which computes features at strides 4, 8 and 16. The memory encoder and the query encoder have
            separate backbones.
        normalise_keys: whether to subtract the mean over the frame from the keys and to scale the keys to a learned length.
            Normalised keys are for training from scratch and are not in the paper. With normalised keys, similar cells match
            from the first training step, and affinities stay in a suitable range for a softmax.
        key_dim_s16: number of channels of the memory and query keys at stride 16.
        key_dim_s8: number of channels of the keys at stride 8.
        key_dim_s4: number of channels of the keys at stride 4.
        value_dim_s16: number of channels of the memory and query values at stride 16.
        value_dim_s8: number of channels of the memory values at stride 8.
        value_dim_s4: number of channels of the memory values at stride 4.
        decoder_dim: number of channels in the decoder.
        use_kernel: whether the affinities of the stride-16 read are weighted by a Gaussian kernel.
        window: odd side length, in cells, of the window that is searched for the centre of the kernel.
        sigma: standard deviation of the kernel for the previous frame, in cells.
        sigma_growth: growth of the standard deviation with age. For a slot that is `age` slots older than the previous frame,
            the standard deviation is `sigma * (sigma_growth * age + 1)`.
        kernel_in_training: whether to use the kernel in training, too. In training from scratch, the kernel restricts matching
            to nearby cells while features are not yet distinctive. The arg-max that selects the kernel's centre has no
            gradient.
        use_topk_read: whether to read the memory at strides 8 and 4.
        k_s8: number of selected coarse cells that each query cell reads at stride 8.
        k_s4: number of selected coarse cells that each query cell reads at stride 4.
        dtype: compute dtype, "bfloat16", "float32" or "float64". None means the dtype of the variables.
        winograd: whether to compute 3x3 convolutions in float32 with Winograd's algorithm, for inference only. This
            algorithm is faster on a CPU. The results differ from those of exact convolutions by up to 1e-4.
        remat: whether to recompute each block of the backbones and the decoder in the backward pass instead of storing its
            activations.

    Raises:
        ValueError: a value is invalid; the message contains the field and the expected values.
    """

    backbone: Backbone = ResNet()  # noqa: RUF009, frozen
    normalise_keys: bool = False

    key_dim_s16: int = 128
    key_dim_s8: int = 128
    key_dim_s4: int = 64
    value_dim_s16: int = 512
    value_dim_s8: int = 256
    value_dim_s4: int = 128
    decoder_dim: int = 256

    # Kernel-guided read (stride 16).
    use_kernel: bool = True
    window: int = 7
    sigma: float = 3.0
    sigma_growth: float = 0.5
    kernel_in_training: bool = False

    # Top-k guided read (strides 8 and 4).
    use_topk_read: bool = True
    k_s8: int = 32
    k_s4: int = 8

    dtype: str | None = None
    winograd: bool = False
    remat: bool = False

    def __post_init__(self) -> None:
        self._require(isinstance(self.backbone, Backbone), "backbone", "a backbone, such as ResNet()")
        self._require(self.dtype in (None, *DTYPES), "dtype", f"None, {', '.join(DTYPES[:-1])} or {DTYPES[-1]}")
        for name in ("normalise_keys", "use_kernel", "kernel_in_training", "use_topk_read", "winograd", "remat"):
            self._require(isinstance(getattr(self, name), bool), name, "True or False")
        dims = (f"{kind}_dim_s{stride}" for kind in ("key", "value") for stride in (16, 8, 4))
        for name in (*dims, "decoder_dim"):
            self._require(is_size(getattr(self, name)), name, f"an integer from 1 to {WIDEST}")
        self._require(is_size(self.window) and self.window % 2 == 1, "window", f"an odd number of cells up to {WIDEST}")
        self._require(is_finite(self.sigma) and self.sigma > 0, "sigma", "a number of cells above 0")
        self._require(is_finite(self.sigma_growth) and self.sigma_growth >= 0, "sigma_growth", "a number of at least 0")
        self._require(is_size(self.k_s8), "k_s8", f"an integer from 1 to {WIDEST}")
        self._require(is_size(self.k_s4, self.k_s8), "k_s4", f"an integer from 1 to k_s8, which is {self.k_s8}")

    def _require(self, condition: bool, name: str, expected: str) -> None:
        if not condition:
            raise ValueError(f"HMMNConfig.{name} is {getattr(self, name)!r}, expected {expected}")

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as JSON values. The backbone is represented by its name and fields."""
        return dataclasses.asdict(self) | {"backbone": self.backbone.to_dict()}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "HMMNConfig":
        """Creates a config from the result of `to_dict`. Missing fields get their default values.

        The dimensions of a ResNet may be at the top level of `fields`, as in version 0.1.

        Raises:
            ValueError: a field is unknown, or a value is invalid.
        """
        fields = dict(fields)
        if "backbone" not in fields:
            fields["backbone"] = {"name": ResNet.name} | {name: fields.pop(name) for name in _OF_RESNET & fields.keys()}
        if isinstance(fields["backbone"], Mapping):
            fields["backbone"] = backbone_from_dict(fields["backbone"])
        unknown = sorted(set(fields) - {field.name for field in dataclasses.fields(cls)})
        if unknown:
            raise ValueError(f"HMMNConfig has no field {', '.join(unknown)}. A newer version of hmmn-jax may be required")
        return cls(**fields)

    @property
    def compute(self) -> Compute:
        """The compute dtype and the options of layers."""
        return Compute(self.dtype, self.winograd, self.remat)

    def replace(self, **changes: Any) -> "HMMNConfig":
        """Returns a copy with the given fields changed."""
        return dataclasses.replace(self, **changes)
