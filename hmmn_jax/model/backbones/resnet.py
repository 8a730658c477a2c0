"""ResNet-50 v1.5 (with the stride in the 3x3 convolutions), truncated after the third stage: the backbone in the paper."""

import dataclasses
import functools
from collections.abc import Collection

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from hmmn_jax.model.backbones.base import Backbone, BackboneModule, Normalise, Path, Stage, Variables, register
from hmmn_jax.model.folding import fold_norms
from hmmn_jax.model.layers import NORMS, Compute, Conv, FrozenBatchNorm, Kernel, make_norm
from hmmn_jax.model.sizes import DEEPEST, WIDEST, is_size
from hmmn_jax.ops.conv2d import conv2d
from hmmn_jax.ops.pooling import max_pool

_STEMS = {"conv_mask": "conv1_m", "conv_others": "conv1_o", "conv_frame": "conv1"}
_NORM_LEAVES = (
    ("params", "scale", "weight"),
    ("params", "bias", "bias"),
    ("batch_stats", "mean", "running_mean"),
    ("batch_stats", "var", "running_var"),
    ("batch_stats", "count", "num_batches_tracked"),
)
_PRETRAINED_STAGES = {"res2": "layer1", "res3": "layer2", "res4": "layer3"}
_NEW = ("mean", "std", "conv1_m", "conv1_o")  # layers that an ImageNet ResNet does not have


@register("resnet")
@dataclasses.dataclass(frozen=True)
class ResNet(Backbone):
    """The dimensions of a bottleneck ResNet. The default values are the dimensions of the published network.

    Attributes:
        stem_width: number of channels in the first layer.
        blocks: number of blocks in the stages res2, res3 and res4, which are at strides 4, 8 and 16.
        widths: number of channels in the stages res2, res3 and res4.
        norm: the kind of normalisation. "batch" is BatchNorm that uses stored statistics, even in training. "group" is
            GroupNorm, for training from scratch. "layer" is LayerNorm over the channels of each cell, for training from
            scratch. LayerNorm does not depend on other cells or on the size of the frame. With "none", convolutions have a bias
            and no normalisation, as in the networks that `fold` makes for inference.
        norm_groups: number of groups in GroupNorm.

    Raises:
        ValueError: a value is invalid; the message contains the field and the expected values.
    """

    stem_width: int = 64
    blocks: tuple[int, int, int] = (3, 4, 6)
    widths: tuple[int, int, int] = (256, 512, 1024)
    norm: str = "batch"
    norm_groups: int = 8

    def __post_init__(self) -> None:
        self.require(self.norm in NORMS, "norm", f"one of {', '.join(NORMS)}")
        for name in ("stem_width", "norm_groups"):
            self.require(is_size(getattr(self, name)), name, f"an integer from 1 to {WIDEST}")
        for name, most in (("blocks", DEEPEST), ("widths", WIDEST)):
            value = getattr(self, name)
            fits = isinstance(value, tuple) and len(value) == 3 and all(is_size(one, most) for one in value)
            self.require(fits, name, f"three positive numbers up to {most}, for res2, res3 and res4")
        self.require(
            all(width % 4 == 0 for width in self.widths),
            "widths",
            "multiples of 4, because bottlenecks have a quarter of the width",
        )
        widths = (self.stem_width, *self.widths, *(width // 4 for width in self.widths))
        self.require_groups(self.norm, self.norm_groups, widths)

    def make(self, compute: Compute, with_masks: bool, name: str | None = None) -> "ResNetModule":
        """Creates the Linen module of the backbone."""
        return ResNetModule(self, compute, with_masks, name=name)

    def stages(self, compute: Compute) -> tuple[Stage, ...]:
        """Returns the blocks of res2, res3 and res4."""
        block, stages = compute.block(Bottleneck), []
        for stage, (blocks, width) in enumerate(zip(self.blocks, self.widths, strict=True), 2):
            make = functools.partial(block, width, self, compute)
            first = functools.partial(make, stride=2 if stage > 2 else 1, project=True)
            stages.append({f"res{stage}_{i}": make if i else first for i in range(blocks)})
        return tuple(stages)

    @property
    def has_norm(self) -> bool:
        """Whether the backbone has normalisation layers."""
        return self.norm != "none"

    def fold(self, variables: Variables) -> tuple[Variables, "ResNet"]:
        """Folds BatchNorm into kernels and biases. Other normalisation layers depend on their input and are not folded."""
        if self.norm != "batch":
            return variables, self
        convs: dict[Path, list[Path]] = {}
        # The stem's convolutions are summed before the normalisation.
        convs["norm1",] = [(stem,) for stem in ("conv_frame", "conv_mask", "conv_others") if stem in variables["params"]]
        for block, layers in variables["params"].items():
            for layer in layers if block.startswith("res") else ():
                if layer.startswith("norm"):
                    convs[block, layer] = [(block, layer.replace("norm", "conv"))]
        return fold_norms(variables, convs), dataclasses.replace(self, norm="none")

    def torch_names(self, with_masks: bool) -> dict[str, Path]:
        """Maps the names in the official checkpoint to variables of a module, in checkpoint order."""
        table: dict[str, Path] = {name: ("constants", "normalise", name) for name in ("mean", "std")}
        folded = self.norm == "none"

        def conv(official: str, path: Path, bias: bool) -> None:
            table[f"{official}.weight"] = ("params", *path, "kernel")
            if bias:
                table[f"{official}.bias"] = ("params", *path, "bias")

        def norm(official: str, path: Path) -> None:
            leaves = {"batch": _NORM_LEAVES, "group": _NORM_LEAVES[:2], "layer": _NORM_LEAVES[:2], "none": ()}[self.norm]
            for collection, leaf, name in leaves:
                table[f"{official}.{name}"] = (collection, *path, leaf)

        for here, official in _STEMS.items():
            if with_masks or here == "conv_frame":
                conv(official, (here,), bias=folded and here == "conv_frame")
        norm("bn1", ("norm1",))
        for stage, blocks in enumerate(self.blocks, 2):
            for i in range(blocks):
                block, here = f"res{stage}.{i}", f"res{stage}_{i}"
                for layer in "123":
                    conv(f"{block}.conv{layer}", (here, f"conv{layer}"), folded)
                    norm(f"{block}.bn{layer}", (here, f"norm{layer}"))
                if i == 0:
                    conv(f"{block}.downsample.0", (here, "conv_project"), folded)
                    norm(f"{block}.downsample.1", (here, "norm_project"))
        return table

    def pretrained_names(self) -> dict[str, str]:
        """Maps the names from `torch_names` to the names in torchvision's files."""
        names = {}
        for name in self.torch_names(with_masks=False):
            part, _, rest = name.partition(".")
            if part not in _NEW:
                names[name] = f"{_PRETRAINED_STAGES.get(part, part)}.{rest}"
        return names

    def pretrained_ignores(self, name: str) -> bool:
        """Returns whether a tensor belongs to the last stage or to the classifier."""
        return name.startswith(("layer4.", "fc."))

    @classmethod
    def recognises(cls, names: Collection[str]) -> bool:
        """Returns whether the names are tensor names of a ResNet from torchvision."""
        return any(".layer1." in f".{name}" for name in names)


class ResNetModule(BackboneModule):
    """A ResNet whose first layer can also take masks as input."""

    sizes: ResNet
    compute: Compute
    with_masks: bool

    def setup(self) -> None:  # noqa: D102
        sizes, compute, folded = self.sizes, self.compute, self.sizes.norm == "none"
        self.normalise = Normalise()
        self.conv_frame = Conv(sizes.stem_width, compute, 7, 2, use_bias=folded)
        if self.with_masks:
            self.conv_mask = Kernel((7, 7, 1, sizes.stem_width))
            # The kernel for the masks of other objects is initialised to zero, so that a model trained on one object at a time
            # ignores other objects.
            self.conv_others = Kernel((7, 7, 1, sizes.stem_width), nn.initializers.zeros)
        if not folded:
            self.norm1 = make_norm(sizes.norm, sizes.norm_groups, compute, "norm1")
        self.stages = [[make(name=name) for name, make in stage.items()] for stage in sizes.stages(compute)]

    def frame(self, frame: Float[Array, "b H W 3"]) -> Float[Array, "b h2 w2 c"]:
        """Computes the frame's contribution to the first layer."""
        return self.conv_frame(self.normalise(frame))

    def masks(self, masks: Float[Array, "b H W 2"]) -> Float[Array, "b h2 w2 c"]:
        """Computes the masks' contribution to the first layer as one convolution of both masks."""
        kernel = jnp.concatenate([self.conv_mask(), self.conv_others()], axis=2)
        kernel = kernel.astype(self.compute.dtype_of(kernel))
        return conv2d(masks.astype(kernel.dtype), kernel, 2)

    def before_blocks(self, stem: Float[Array, "b h2 w2 c"]) -> Float[Array, "b h4 w4 c"]:
        """Applies the normalisation, ReLU and max-pooling."""
        return max_pool(nn.relu(stem if self.sizes.norm == "none" else self.norm1(stem)))


class Bottleneck(nn.Module):
    """A bottleneck block: 1x1, 3x3 and 1x1 convolutions, and a shortcut. The shortcut is a projection if `project` is set."""

    features: int
    sizes: ResNet
    compute: Compute
    stride: int = 1
    project: bool = False

    def keeps_shape(self, inputs: int) -> bool:
        """Returns whether the output for an input with `inputs` channels has the shape of the input."""
        return self.stride == 1 and inputs == self.features

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 o"]:
        """Applies the block: `[b,h,w,c] -> [b,h/stride,w/stride,features]`."""
        sizes, compute = self.sizes, self.compute

        def conv_norm(
            x: Array,
            suffix: str,
            features: int,
            kernel_size: int,
            stride: int = 1,
            relu: bool = False,
            add: Array | None = None,
        ) -> Array:
            conv = Conv(features, compute, kernel_size, stride, sizes.norm == "none", name=f"conv{suffix}")
            if sizes.norm == "none":
                return conv(x, add=add, relu=relu)
            norm = make_norm(sizes.norm, sizes.norm_groups, compute, f"norm{suffix}")
            if isinstance(norm, FrozenBatchNorm):
                return conv(x, norm.affine(features), add=add, relu=relu)
            y = norm(conv(x, relu=relu))
            return y if add is None else y + add

        width = self.features // 4
        y = conv_norm(x, "1", width, 1)
        y = conv_norm(y, "2", width, 3, self.stride, relu=True)
        shortcut = conv_norm(x, "_project", self.features, 1, self.stride) if self.project else x
        return nn.relu(conv_norm(y, "3", self.features, 1, relu=True, add=shortcut))
