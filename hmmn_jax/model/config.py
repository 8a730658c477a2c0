"""`HMMNConfig`: every size and switch of the network, frozen and hashable, so that it can be a static argument of `jax.jit`."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

NORMS = ("batch", "group", "layer", "none")
DTYPES = ("bfloat16", "float32", "float64")
WIDEST, DEEPEST = 16384, 50  # channels of a layer, blocks of a stage; a damaged config may ask for any number


@dataclasses.dataclass(frozen=True)
class HMMNConfig:
    """Sizes and switches of HMMN; the defaults are the released model's.

    Raises:
      ValueError: a value that no network can have, named with what was expected.
    """

    # Trunks: bottleneck ResNets cut after the third stage (res2, res3, res4 at strides 4, 8, 16).
    stem_width: int = 64
    blocks: tuple[int, int, int] = (3, 4, 6)
    widths: tuple[int, int, int] = (256, 512, 1024)
    # "batch": BatchNorm with stored statistics, in training too; for training from scratch "group": GroupNorm, or "layer":
    # LayerNorm over the channels of each cell, so that nothing depends on what else is in the frame, nor on its size;
    # "none": convolutions with a bias and no normalisation, what `fold_batch_norm` makes for inference.
    norm: str = "batch"
    norm_groups: int = 8
    # Keys lose their mean over the frame and get a learned length, so that from the start a cell matches its like and few
    # others, and scores stay within reach of a softmax: for training from scratch, which is not in the paper.
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

    # Training: the backward pass computes each block of trunks and decoder again rather than hold all of its activations.
    remat: bool = False

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, list):  # JSON and ml_collections have no tuples
                object.__setattr__(self, field.name, tuple(value))
        self._require(self.norm in NORMS, "norm", f"one of {', '.join(NORMS)}")
        self._require(self.dtype in (None, *DTYPES), "dtype", f"None, {', '.join(DTYPES[:-1])} or {DTYPES[-1]}")
        for name in ("normalise_keys", "use_kernel", "kernel_in_training", "use_topk_read", "winograd", "remat"):
            self._require(isinstance(getattr(self, name), bool), name, "True or False")
        dims = (f"{kind}_dim_s{stride}" for kind in ("key", "value") for stride in (16, 8, 4))
        for name in ("stem_width", "norm_groups", *dims, "decoder_dim"):
            self._require(_is_size(getattr(self, name)), name, f"a whole number from 1 to {WIDEST}")
        self._require(_is_size(self.window) and self.window % 2 == 1, "window", f"an odd number of cells up to {WIDEST}")
        self._require(_is_finite(self.sigma) and self.sigma > 0, "sigma", "more than 0 cells")
        self._require(_is_finite(self.sigma_growth) and self.sigma_growth >= 0, "sigma_growth", "0 or more")
        self._require(_is_size(self.k_s8), "k_s8", f"a whole number from 1 to {WIDEST}")
        self._require(_is_size(self.k_s4, self.k_s8), "k_s4", f"1 to k_s8 = {self.k_s8} (the best of the stride-8 cells)")
        for name, most in (("blocks", DEEPEST), ("widths", WIDEST)):
            value = getattr(self, name)
            fits = isinstance(value, tuple) and len(value) == 3 and all(_is_size(one, most) for one in value)
            self._require(fits, name, f"three positive numbers up to {most}, for res2, res3 and res4")
        self._require(all(width % 4 == 0 for width in self.widths), "widths", "multiples of 4 (bottlenecks are a quarter)")
        if self.norm == "group":
            for width in (self.stem_width, *self.widths, *(width // 4 for width in self.widths)):
                self._require(
                    width % self.norm_groups == 0, "norm_groups", f"a divisor of every width; {width} is not a multiple"
                )

    def _require(self, condition: bool, name: str, expected: str) -> None:
        if not condition:
            raise ValueError(f"HMMNConfig.{name} is {getattr(self, name)!r}, expected {expected}")

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values that JSON can hold."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "HMMNConfig":
        """The inverse of `to_dict`; absent fields take their defaults, unknown ones raise ValueError."""
        unknown = sorted(set(fields) - {field.name for field in dataclasses.fields(cls)})
        if unknown:
            raise ValueError(f"HMMNConfig has no field {', '.join(unknown)}: was it written by a newer version?")
        return cls(**fields)

    def replace(self, **changes: Any) -> "HMMNConfig":
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)


def _is_size(value: Any, most: int = WIDEST) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
