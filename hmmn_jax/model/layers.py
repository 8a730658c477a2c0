"""Modules with parameters for convolution and normalisation."""

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
    """Compute dtype and options of layers, independent of their parameters.

    Attributes:
      dtype: compute dtype, such as "bfloat16"; None: the dtype of the parameters.
      winograd: allow Winograd's algorithm in 3x3 convolutions.
      remat: recompute blocks of layers in the backward pass instead of storing their activations.
    """

    dtype: str | None = None
    winograd: bool = False
    remat: bool = False

    def dtype_of(self, parameter: jax.Array) -> jnp.dtype:
        """The dtype in which a layer with this parameter computes."""
        return jnp.dtype(self.dtype or parameter.dtype)

    def block(self, module: type[nn.Module]) -> type[nn.Module]:
        """A module whose activations are recomputed in the backward pass if `remat` is set."""
        return nn.remat(module) if self.remat else module


class Affine(NamedTuple):
    """An affine map of each channel: x * factor + shift."""

    factor: Float[Array, " c"]
    shift: Float[Array, " c"]


class Conv(nn.Module):
    """A square convolution in the compute dtype, `[b,h,w,c] -> [b,h/stride,w/stride,features]`.

    `same`: use TensorFlow's padding "SAME" instead of PyTorch's. `depthwise`: convolve each channel separately;
    `features` equals the number of input channels.
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
        """Convolves `x`, or its positive part if `relu` is set, and adds the bias, if any, and the map `add`.

        `norm` is as in `weights`. A depthwise convolution supports neither `add` nor `relu`.
        """
        kernel, bias = self.weights(x.shape[-1], norm)
        x = x.astype(kernel.dtype)
        if self.depthwise:
            y = depthwise_conv2d(x, kernel, self.stride, self.same)
            return y if bias is None else y + at_all_pixels(bias, y.shape)
        return conv2d(x, kernel, self.stride, self.compute.winograd, self.same, bias, add, relu)

    @nn.compact
    def weights(self, inputs: int, norm: Affine | None = None) -> Weights:
        """Kernel and bias in the compute dtype, for this number of input channels.

        A `norm` of the output is folded into the kernel and bias of a convolution without bias: the result is the same, but it
        needs only one pass over the feature map and, in training, stores nothing for its gradient.
        """
        shape = (self.kernel_size, self.kernel_size, 1 if self.depthwise else inputs, self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,)) if self.use_bias else None
        dtype = self.compute.dtype_of(kernel)
        if norm is not None:
            kernel, bias = kernel * norm.factor, norm.shift
        return Weights(kernel.astype(dtype), None if bias is None else bias.astype(dtype))


class Key(Conv):
    """The convolution that computes keys, which are optionally normalised."""

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
        """Computes keys of all cells.

        With `normalise`, the mean of the keys over the frame is subtracted, and they are scaled to the learned length `scale`.
        """
        key = super().__call__(x, norm, add=add, relu=relu)
        if not self.normalise:
            return key
        scale = self.param("scale", nn.initializers.constant((KEY_SHARPNESS**2 / self.features) ** 0.25), (self.features,))
        wide = key.astype(at_least_float32(key))
        wide = wide - wide.mean((1, 2), keepdims=True)  # the mean over all cells does not help to distinguish them
        size = jnp.sqrt(jnp.mean(wide**2, axis=-1, keepdims=True) + NORM_EPSILON)
        return (wide / size * at_all_pixels(scale, key.shape)).astype(key.dtype)


class Kernel(nn.Module):
    """The kernel of a convolution that is computed together with others."""

    shape: tuple[int, int, int, int]
    kernel_init: nn.initializers.Initializer = nn.initializers.he_normal()

    @nn.compact
    def __call__(self) -> Float[Array, "k k c o"]:
        """The parameter."""
        return self.param("kernel", self.kernel_init, self.shape)


class FrozenBatchNorm(nn.Module):
    """BatchNorm with stored statistics, even in training; scale and bias are trained.

    The counter is PyTorch's `num_batches_tracked`. It is not used, but kept for lossless conversion back to PyTorch.
    """

    epsilon: float = NORM_EPSILON

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Normalises each channel. Computes in at least float32, and returns the dtype of `x`."""
        factor, shift = self.affine(x.shape[-1])
        return (x * at_all_pixels(factor, x.shape) + at_all_pixels(shift, x.shape)).astype(x.dtype)

    @nn.compact
    def affine(self, channels: int) -> Affine:
        """The affine map of each channel, for `Conv`."""
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
    """Returns the normalisation layer named "batch", "group" or "layer"."""
    if norm == "group":
        return nn.GroupNorm(groups, epsilon=epsilon, dtype=compute.dtype, name=name)
    if norm == "layer":
        return nn.LayerNorm(epsilon=epsilon, dtype=compute.dtype, name=name)
    return FrozenBatchNorm(epsilon, name=name)
