"""Convolution and normalisation with PyTorch's geometry: thin modules of parameters."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from hmmn_jax.model.config import HMMNConfig
from hmmn_jax.ops.conv2d import conv2d
from hmmn_jax.ops.convolution import at_all_pixels
from hmmn_jax.ops.precision import at_least_float32

NORM_EPSILON = 1e-5
KEY_SHARPNESS = 16.0  # score of two normalised keys that point the same way, before training


def compute_dtype(config: HMMNConfig, parameter: jax.Array) -> jnp.dtype:
    """The dtype in which convolutions compute: the config's, or else that of their parameters."""
    return jnp.dtype(config.dtype or parameter.dtype)


class Conv(nn.Module):
    """A square convolution in the compute dtype, `[b,h,w,c] -> [b,h/stride,w/stride,features]`."""

    features: int
    config: HMMNConfig
    kernel_size: int = 3
    stride: int = 1
    use_bias: bool = True
    kernel_init: nn.initializers.Initializer = nn.initializers.he_normal()

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 o"]:
        """Convolves and adds the bias, if there is one."""
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        dtype = compute_dtype(self.config, kernel)
        y = conv2d(x.astype(dtype), kernel.astype(dtype), self.stride, self.config.winograd)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,))
            y = y + at_all_pixels(bias.astype(dtype), y.shape)
        return y


class Key(Conv):
    """The convolution that gives keys, normalised where the config says so (`normalise_keys`)."""

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w k"]:
        """Keys of all cells; with `normalise_keys` without their mean over the frame, and as long as the learned `scale`."""
        key = super().__call__(x)
        if not self.config.normalise_keys:
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

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Normalises each channel; computed in at least float32, returned in the dtype of `x`."""
        shape = x.shape[-1:]
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape).value
        var = self.variable("batch_stats", "var", jnp.ones, shape).value
        self.variable("batch_stats", "count", lambda: np.zeros((), np.int64))
        factor = scale * jax.lax.rsqrt(var + NORM_EPSILON)
        shift = bias - mean * factor
        return (x * at_all_pixels(factor, x.shape) + at_all_pixels(shift, x.shape)).astype(x.dtype)


def make_norm(config: HMMNConfig, name: str) -> FrozenBatchNorm | nn.GroupNorm | nn.LayerNorm:
    """The normalisation layer that `config.norm` names ("none" has none: see `HMMNConfig`)."""
    if config.norm == "group":
        return nn.GroupNorm(config.norm_groups, epsilon=NORM_EPSILON, dtype=config.dtype, name=name)
    if config.norm == "layer":
        return nn.LayerNorm(epsilon=NORM_EPSILON, dtype=config.dtype, name=name)
    return FrozenBatchNorm(name=name)
