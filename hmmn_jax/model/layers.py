"""Convolution and normalisation with PyTorch's geometry: thin modules of parameters."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from hmmn_jax.ops.conv2d import conv2d
from hmmn_jax.ops.convolution import at_all_pixels
from hmmn_jax.ops.precision import at_least_float32

NORM_EPSILON = 1e-5
KEY_SHARPNESS = 16.0  # score of two normalised keys that point the same way, before training


@dataclasses.dataclass(frozen=True)
class Compute:
    """How layers compute, whatever their parameters are.

    Attributes:
      dtype: of the computation, such as "bfloat16"; None: that of the parameters.
      winograd: allow Winograd's algorithm in 3x3 convolutions.
      remat: let the backward pass compute blocks of layers again instead of holding their activations.
    """

    dtype: str | None = None
    winograd: bool = False
    remat: bool = False

    def dtype_of(self, parameter: jax.Array) -> jnp.dtype:
        """The dtype in which a layer with this parameter computes."""
        return jnp.dtype(self.dtype or parameter.dtype)

    def block(self, module: type[nn.Module]) -> type[nn.Module]:
        """A module whose activations the backward pass computes again, if `remat` says so."""
        return nn.remat(module) if self.remat else module


class Conv(nn.Module):
    """A square convolution in the compute dtype, `[b,h,w,c] -> [b,h/stride,w/stride,features]`."""

    features: int
    compute: Compute
    kernel_size: int = 3
    stride: int = 1
    use_bias: bool = True
    kernel_init: nn.initializers.Initializer = nn.initializers.he_normal()

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 o"]:
        """Convolves and adds the bias, if there is one."""
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        dtype = self.compute.dtype_of(kernel)
        y = conv2d(x.astype(dtype), kernel.astype(dtype), self.stride, self.compute.winograd)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,))
            y = y + at_all_pixels(bias.astype(dtype), y.shape)
        return y


class Key(Conv):
    """The convolution that gives keys, as they are or normalised."""

    normalise: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w k"]:
        """Keys of all cells; with `normalise` without their mean over the frame, and as long as the learned `scale`."""
        key = super().__call__(x)
        if not self.normalise:
            return key
        scale = self.param("scale", nn.initializers.constant((KEY_SHARPNESS**2 / self.features) ** 0.25), (self.features,))
        wide = key.astype(at_least_float32(key))
        wide = wide - wide.mean((1, 2), keepdims=True)  # what all cells have in common tells none from another
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
    """BatchNorm by its stored statistics, in training too; scale and bias are trained.

    The counter is PyTorch's `num_batches_tracked`: unused, carried along so that a checkpoint survives the round trip.
    """

    epsilon: float = NORM_EPSILON

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Normalises each channel; computed in at least float32, returned in the dtype of `x`."""
        shape = x.shape[-1:]
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape).value
        var = self.variable("batch_stats", "var", jnp.ones, shape).value
        self.variable("batch_stats", "count", lambda: np.zeros((), np.int64))
        factor = scale * jax.lax.rsqrt(var + self.epsilon)
        shift = bias - mean * factor
        return (x * at_all_pixels(factor, x.shape) + at_all_pixels(shift, x.shape)).astype(x.dtype)


def make_norm(norm: str, groups: int, compute: Compute, name: str) -> FrozenBatchNorm | nn.GroupNorm | nn.LayerNorm:
    """The normalisation layer of a name: "batch", "group" or "layer"."""
    if norm == "group":
        return nn.GroupNorm(groups, epsilon=NORM_EPSILON, dtype=compute.dtype, name=name)
    if norm == "layer":
        return nn.LayerNorm(epsilon=NORM_EPSILON, dtype=compute.dtype, name=name)
    return FrozenBatchNorm(name=name)
