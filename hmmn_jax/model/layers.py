"""Defines the modules for convolution and normalisation."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from hmmn_jax.ops.conv2d import conv2d
from hmmn_jax.ops.convolution import at_all_pixels
from hmmn_jax.ops.depthwise import depthwise_conv2d
from hmmn_jax.ops.inverted_residual import Weights
from hmmn_jax.ops.precision import at_least_float32

NORMS = ("batch", "group", "layer", "none")
NORM_EPSILON = 1e-5
KEY_SHARPNESS = 16.0  # initial affinity of two parallel normalised keys


@dataclasses.dataclass(frozen=True)
class Compute:
    """Settings that affect the computation of layers, but not the parameters of layers.

    Attributes:
      dtype: compute dtype, such as "bfloat16". None means the dtype of the parameters.
      winograd: whether 3x3 convolutions may use Winograd's algorithm.
      remat: whether to recompute blocks of layers in the backward pass instead of storing their activations.
    """

    dtype: str | None = None
    winograd: bool = False
    remat: bool = False

    def dtype_of(self, parameter: jax.Array) -> jnp.dtype:
        """Returns the dtype in which a layer with this parameter computes."""
        return jnp.dtype(self.dtype or parameter.dtype)

    def block(self, module: type[nn.Module]) -> type[nn.Module]:
        """Returns `module` or, if `remat` is set, a module that recomputes its activations in the backward pass."""
        return nn.remat(module) if self.remat else module


class Affine(NamedTuple):
    """An affine map of each channel: x * factor + shift."""

    factor: Float[Array, " c"]
    shift: Float[Array, " c"]


class Conv(nn.Module):
    """A convolution with a square kernel in the compute dtype, `[b,h,w,c] -> [b,h/stride,w/stride,features]`.

    If `same` is set, the padding is TensorFlow's "SAME" instead of PyTorch's. If `depthwise` is set, each channel is convolved
    separately, and `features` must equal the number of input channels.
    """

    features: int
    compute: Compute
    kernel_size: int = 3
    stride: int = 1
    use_bias: bool = True
    kernel_init: nn.initializers.Initializer = nn.initializers.he_normal()
    same: bool = False
    depthwise: bool = False

    def __call__(
        self,
        x: Float[Array, "b h w c"],
        norm: Affine | None = None,
        *,
        add: Float[Array, "b h2 w2 o"] | None = None,
        relu: bool = False,
    ) -> Float[Array, "b h2 w2 o"]:
        """Convolves `x`, or relu(x) if `relu` is set, and adds the bias and the map `add`, if any.

        See `weights` for `norm`. A depthwise convolution supports neither `add` nor `relu`.
        """
        kernel, bias = self.weights(x.shape[-1], norm)
        x = x.astype(kernel.dtype)
        if self.depthwise:
            y = depthwise_conv2d(x, kernel, self.stride, self.same)
            return y if bias is None else y + at_all_pixels(bias, y.shape)
        return conv2d(x, kernel, self.stride, self.compute.winograd, self.same, bias, add, relu)

    @nn.compact
    def weights(self, inputs: int, norm: Affine | None = None) -> Weights:
        """Returns the kernel and the bias, in the compute dtype, for `inputs` input channels.

        `norm`, if given, is folded into the kernel and replaces the bias. The result is the same as normalising the output
        of the convolution, but folding needs only one pass over the feature map. In training, a folded norm stores no
        activations for the backward pass.
        """
        shape = (self.kernel_size, self.kernel_size, 1 if self.depthwise else inputs, self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,)) if self.use_bias else None
        dtype = self.compute.dtype_of(kernel)
        if norm is not None:
            kernel, bias = kernel * norm.factor, norm.shift
        return Weights(kernel.astype(dtype), None if bias is None else bias.astype(dtype))


class Key(Conv):
    """A convolution that computes keys and optionally normalises them."""

    normalise: bool = False

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        norm: Affine | None = None,
        *,
        add: Float[Array, "b h w k"] | None = None,
        relu: bool = False,
    ) -> Float[Array, "b h w k"]:
        """Computes the keys of all cells.

        If `normalise` is set, the mean over the frame is subtracted from the keys, and each key is scaled to the learned length
        `scale`.
        """
        key = super().__call__(x, norm, add=add, relu=relu)
        if not self.normalise:
            return key
        scale = self.param("scale", nn.initializers.constant((KEY_SHARPNESS**2 / self.features) ** 0.25), (self.features,))
        wide = key.astype(at_least_float32(key))
        wide = wide - wide.mean((1, 2), keepdims=True)  # the mean over all cells does not help to distinguish cells
        size = jnp.sqrt(jnp.mean(wide**2, axis=-1, keepdims=True) + NORM_EPSILON)
        return (wide / size * at_all_pixels(scale, key.shape)).astype(key.dtype)


class Kernel(nn.Module):
    """The kernel of a convolution that is computed together with other convolutions."""

    shape: tuple[int, int, int, int]
    kernel_init: nn.initializers.Initializer = nn.initializers.he_normal()

    @nn.compact
    def __call__(self) -> Float[Array, "k k c o"]:
        """Returns the kernel."""
        return self.param("kernel", self.kernel_init, self.shape)


class FrozenBatchNorm(nn.Module):
    """BatchNorm that uses stored statistics, even in training, and has a trained scale and bias.

    The variable `count` is PyTorch's `num_batches_tracked`, stored only for lossless conversion back to PyTorch.
    """

    epsilon: float = NORM_EPSILON

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Normalises each channel. The computation is in at least float32; the result has the dtype of `x`."""
        factor, shift = self.affine(x.shape[-1])
        return (x * at_all_pixels(factor, x.shape) + at_all_pixels(shift, x.shape)).astype(x.dtype)

    @nn.compact
    def affine(self, channels: int) -> Affine:
        """Returns this layer as an affine map of each channel, which can be passed to `Conv` as `norm`."""
        shape = (channels,)
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape).value
        var = self.variable("batch_stats", "var", jnp.ones, shape).value
        self.variable("batch_stats", "count", lambda: np.zeros((), np.int64))
        factor = scale * jax.lax.rsqrt(var + self.epsilon)
        return Affine(factor, bias - mean * factor)


def make_norm(
    norm: str, groups: int, compute: Compute, name: str, epsilon: float = NORM_EPSILON
) -> FrozenBatchNorm | nn.GroupNorm | nn.LayerNorm:
    """Makes a normalisation layer. The argument `norm` is "batch", "group" or "layer"."""
    if norm == "group":
        return nn.GroupNorm(groups, epsilon=epsilon, dtype=compute.dtype, name=name)
    if norm == "layer":
        return nn.LayerNorm(epsilon=epsilon, dtype=compute.dtype, name=name)
    return FrozenBatchNorm(epsilon, name=name)
