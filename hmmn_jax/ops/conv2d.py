"""Cross-correlation with PyTorch's or TensorFlow's padding, with the algorithm that was measured to be fastest."""

import functools
import operator

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from hmmn_jax.ops.convolution import at_all_pixels, convolve, pad
from hmmn_jax.ops.precision import at_least_float32
from hmmn_jax.ops.winograd import winograd_conv3x3

FEW_CHANNELS = 4  # maximum number of output channels for which `_conv_few_outputs` was measured to be faster


WINOGRAD_CHANNELS = 64  # minimum number of input and output channels for which Winograd was measured to be faster


# Maximum number of 3x3 kernels (input channels times output channels) per pixel for which Winograd was measured to be faster.
# With more kernels, the transformation of the kernels takes too long.
KERNELS_PER_CELL = 400


def conv2d(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "k k c o"],
    stride: int = 1,
    winograd: bool = False,
    same: bool = False,
    bias: Float[Array, " o"] | None = None,
    add: Float[Array, "b h2 w2 o"] | None = None,
    relu: bool = False,
) -> Float[Array, "b h2 w2 o"]:
    """Computes a cross-correlation.

    The kernel size k must be odd. By default, the padding on every side is k // 2 zeros, as in PyTorch.

    Args:
        x: the feature map.
        kernel: the kernel, in the layout HWIO.
        stride: the stride along both axes.
        winograd: whether to use Winograd's algorithm for shapes for which this algorithm was measured to be faster.
        same: whether to use TensorFlow's padding "SAME". This padding differs from PyTorch's padding if the stride is not 1.
        bias: a bias that is added to each pixel of the output.
        add: a map that is added to the output.
        relu: whether to convolve relu(x) instead of `x`.
    """
    size, _, inputs, outputs = kernel.shape
    few_kernels = inputs * outputs <= KERNELS_PER_CELL * x[..., 0].size
    if winograd and size == 3 and stride == 1 and min(inputs, outputs) >= WINOGRAD_CHANNELS and few_kernels:
        return winograd_conv3x3(x, kernel, bias, add, relu)
    x = nn.relu(x) if relu else x
    if outputs <= FEW_CHANNELS and stride == 1:
        y = _conv_few_outputs(x, kernel)
    elif x.dtype == jnp.float64:
        y = _conv_by_rows(x, kernel, stride, same)
    else:
        y = convolve(x, kernel, stride, same)
    y = y if bias is None else y + at_all_pixels(bias, y.shape)
    return y if add is None else add + y


def _conv_by_rows(
    x: Float[Array, "b h w c"], kernel: Float[Array, "k k c o"], stride: int, same: bool
) -> Float[Array, "b h2 w2 o"]:
    """Implements `conv2d` for float64 with one matrix product for each row of the kernel.

    On a CPU, XLA's float64 convolution takes ten times as long.
    """
    size = kernel.shape[0]
    h, w = (-(-side // stride) for side in x.shape[1:3])
    x = pad(x, size, stride, same)
    x = jnp.concatenate([x[:, :, j : j + (w - 1) * stride + 1 : stride] for j in range(size)], axis=3)
    rows = (x[:, i : i + (h - 1) * stride + 1 : stride] for i in range(size))
    products = (jnp.tensordot(row, taps.reshape(-1, taps.shape[-1]), 1) for row, taps in zip(rows, kernel, strict=True))
    return functools.reduce(operator.add, products)


def _conv_few_outputs(x: Float[Array, "b h w c"], kernel: Float[Array, "k k c o"]) -> Float[Array, "b h w o"]:
    """Implements `conv2d` for few output channels, with one matrix product for all taps.

    The results of the taps, which have few channels, are shifted and summed. The sum over taps is in at least float32, as in a
    convolution.
    """
    size, _, inputs, outputs = kernel.shape
    by_tap = kernel.transpose(2, 0, 1, 3).reshape(inputs, -1)
    taps = jnp.tensordot(x, by_tap, 1, preferred_element_type=at_least_float32(x, kernel))
    padding = size // 2
    taps = jnp.pad(taps, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    h, w = x.shape[1:3]
    shifts = [(i, j) for i in range(size) for j in range(size)]
    shifted = (taps[:, i : i + h, j : j + w, k * outputs : (k + 1) * outputs] for k, (i, j) in enumerate(shifts))
    return functools.reduce(operator.add, shifted).astype(jnp.result_type(x, kernel))
