"""Convolution and normalisation with PyTorch's geometry: thin modules of parameters."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from hmmn_jax.model.config import HMMNConfig
from hmmn_jax.model.convolution import at_all_pixels, convolve
from hmmn_jax.model.precision import at_least_float32
from hmmn_jax.model.winograd import winograd_conv3x3

NORM_EPSILON = 1e-5
FEW_CHANNELS = 4  # most outputs for which a direct convolution was measured to be wasteful
KEY_SHARPNESS = 16.0  # score of two normalised keys that point the same way, before training
WINOGRAD_CHANNELS = 64  # fewest channels, in and out, with which Winograd was measured to win

KERNELS_PER_CELL = 400  # with more, transforming kernels was measured to cost more than it saves


def conv2d(
    x: Float[Array, "b h w c"], kernel: Float[Array, "k k c o"], stride: int = 1, winograd: bool = False
) -> Float[Array, "b h2 w2 o"]:
    """Cross-correlation with k // 2 zeros on every side ('SAME' would pad a strided layer otherwise than PyTorch).

    `winograd` allows Winograd's algorithm where it was measured to be faster.
    """
    size, _, inputs, outputs = kernel.shape
    if outputs <= FEW_CHANNELS and stride == 1:
        return _conv_few_outputs(x, kernel)
    few_kernels = inputs * outputs <= KERNELS_PER_CELL * x[..., 0].size
    if winograd and size == 3 and stride == 1 and min(inputs, outputs) >= WINOGRAD_CHANNELS and few_kernels:
        return winograd_conv3x3(x, kernel)
    if x.dtype == jnp.float64:
        return _conv_by_rows(x, kernel, stride)
    return convolve(x, kernel, stride)


def _conv_by_rows(x: Float[Array, "b h w c"], kernel: Float[Array, "k k c o"], stride: int) -> Float[Array, "b h2 w2 o"]:
    """A sum of matrix products, one for each row of the kernel: XLA's float64 convolution takes ten times as long on a CPU."""
    size = kernel.shape[0]
    h, w = (-(-side // stride) for side in x.shape[1:3])
    x = jnp.pad(x, ((0, 0), (size // 2, size // 2), (size // 2, size // 2), (0, 0)))
    x = jnp.concatenate([x[:, :, j : j + (w - 1) * stride + 1 : stride] for j in range(size)], axis=3)
    rows = (x[:, i : i + (h - 1) * stride + 1 : stride] for i in range(size))
    return sum(jnp.tensordot(row, taps.reshape(-1, taps.shape[-1]), 1) for row, taps in zip(rows, kernel, strict=True))


def _conv_few_outputs(x: Float[Array, "b h w c"], kernel: Float[Array, "k k c o"]) -> Float[Array, "b h w o"]:
    """Each tap's matrix product first, all in one, then the sum of the shifted taps, which are narrow.

    Taps are added up in at least float32, as a convolution does inside.
    """
    size, _, inputs, outputs = kernel.shape
    by_tap = kernel.transpose(2, 0, 1, 3).reshape(inputs, -1)
    taps = jnp.tensordot(x, by_tap, 1, preferred_element_type=at_least_float32(x, kernel))
    padding = size // 2
    taps = jnp.pad(taps, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    h, w = x.shape[1:3]
    shifts = [(i, j) for i in range(size) for j in range(size)]
    total = sum(taps[:, i : i + h, j : j + w, k * outputs : (k + 1) * outputs] for k, (i, j) in enumerate(shifts))
    return total.astype(jnp.result_type(x, kernel))


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
