"""Depthwise convolution: each channel has its own kernel.

XLA's grouped convolution is fast on accelerators. On a CPU, this convolution and its gradients take several times as long as in
PyTorch. On CPUs, this module computes the convolution and its gradients as sums of shifted maps, with one map for each tap of
the kernel.
"""

import functools
import itertools
import operator
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hmmn_jax.ops.convolution import zeros_around
from hmmn_jax.ops.precision import at_least_float32

ADDENDS = 16  # maximum number of parts of a row that are summed at once

Padding = tuple[tuple[int, int], tuple[int, int]]  # number of zeros above and below, and on the left and right


def depthwise_conv2d(
    x: Float[Array, "b h w c"], kernel: Float[Array, "k k 1 c"], stride: int = 1, same: bool = False
) -> Float[Array, "b h2 w2 c"]:
    """Computes a cross-correlation of each channel.

    The kernel size k must be odd. The padding on every side is k // 2 zeros, as in PyTorch. If `same` is set, the padding is
    TensorFlow's "SAME". This padding differs from PyTorch's padding if the stride is not 1. The sum over taps is computed in at
    least float32.
    """
    above, left = (zeros_around(side, len(kernel), stride, same) for side in x.shape[1:3])
    return depthwise_padded(x, kernel, stride, (above, left))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def depthwise_padded(
    x: Float[Array, "b h w c"], kernel: Float[Array, "k k 1 c"], stride: int, padding: Padding
) -> Float[Array, "b h2 w2 c"]:
    """Computes the result of `depthwise_conv2d` with explicit padding."""
    shifted, grouped = (functools.partial(form, stride=stride, padding=padding) for form in (_shifted, _grouped))
    return jax.lax.platform_dependent(x, kernel, cpu=shifted, default=grouped)


def _forward(x: Array, kernel: Array, stride: int, padding: Padding) -> tuple[Array, tuple[Array, Array]]:
    return depthwise_padded(x, kernel, stride, padding), (x, kernel)


def _backward(stride: int, padding: Padding, inputs: tuple[Array, Array], gradient: Array | np.ndarray) -> tuple[Array, Array]:
    def grouped(x: Array, kernel: Array, gradient: Array) -> tuple[Array, Array]:
        return jax.vjp(functools.partial(_grouped, stride=stride, padding=padding), x, kernel)[1](gradient)

    def shifted(x: Array, kernel: Array, gradient: Array) -> tuple[Array, Array]:
        return _input_gradient(x, kernel, gradient, stride, padding), _kernel_gradient(x, kernel, gradient, stride, padding)

    return jax.lax.platform_dependent(*inputs, gradient, cpu=shifted, default=grouped)


depthwise_padded.defvjp(_forward, _backward)


def _grouped(x: Array, kernel: Array, stride: int, padding: Padding) -> Array:
    numbers, groups = ("NHWC", "HWIO", "NHWC"), x.shape[-1]
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=numbers, feature_group_count=groups
    )


def _shifted(x: Array, kernel: Array, stride: int, padding: Padding) -> Array:
    padded, size, wide = _pad(x, padding), len(kernel), at_least_float32(x, kernel)
    h, w = ((side - size) // stride + 1 for side in padded.shape[1:3])
    taps = (_strided(padded, (i, j), (h, w), stride).astype(wide) * kernel[i, j, 0] for i, j in _offsets(size))
    return functools.reduce(operator.add, taps).astype(jnp.result_type(x, kernel))


def _input_gradient(x: Array, kernel: Array, gradient: Array, stride: int, padding: Padding) -> Array:
    """Computes the gradient with respect to the input.

    For each tap, the output's gradient is shifted by the negative offset of the tap. At stride s, an input pixel is multiplied
    only by every s-th tap of the kernel, along each axis. Pixels with the same taps are computed together. (Dilating the
    output's gradient to the size of the input would cause many multiplications by zero.)
    """
    size, wide = len(kernel), at_least_float32(kernel, gradient)
    b, height, width, c = x.shape
    (above, _), (left, _) = padding
    h, w = (-(-side // stride) for side in (height, width))
    reach = size // stride + 1
    below, beyond = (reach + max(0, side - there) for side, there in zip((h, w), gradient.shape[1:3], strict=True))
    gradient = _pad(gradient, ((reach, below), (reach, beyond)))

    def pixels(row: int, column: int) -> Array:
        """Returns the gradient of every `stride`-th pixel of the input, starting at (row, column)."""
        total = jnp.zeros((b, h, w, c), wide)
        for i, j in _offsets(size):
            (down, off), (right, off_too) = divmod(row + above - i, stride), divmod(column + left - j, stride)
            if off == off_too == 0:
                total += _strided(gradient, (reach + down, reach + right), (h, w), 1).astype(wide) * kernel[i, j, 0]
        return total

    rows = [jnp.stack([pixels(row, column) for column in range(stride)], axis=3) for row in range(stride)]
    whole = jnp.stack(rows, axis=2).reshape(b, h * stride, w * stride, c)
    return whole[:, :height, :width].astype(x.dtype)


def _kernel_gradient(x: Array, kernel: Array, gradient: Array, stride: int, padding: Padding) -> Array:
    """Computes the gradient of each tap as the product of a shifted map and the output's gradient, summed over pixels.

    Rows are processed one by one, so that a row stays in the cache for all taps. Processing by rows was measured to be 4 to 10
    times as fast as one sum over the map for each tap. Each row is split into at most `ADDENDS` parts, and the parts are added.
    Summing a whole row at once was measured to take up to twice as long in XLA. The remaining sum over pixels is computed at
    the end, for all rows together.
    """
    size, wide = len(kernel), at_least_float32(x, gradient)
    b, h, w, c = gradient.shape
    parts = next(parts for parts in range(min(w, ADDENDS), 0, -1) if w % parts == 0)
    x = _pad(x, padding)

    def row(index: int | Array, total: Array) -> Array:
        image, y = jnp.divmod(index, h)
        rows = jax.lax.dynamic_slice(x, (image, y * stride, 0, 0), (1, size, x.shape[2], c)).astype(wide)
        g = jax.lax.dynamic_slice(gradient, (image, y, 0, 0), (1, 1, w, c)).astype(wide)
        products = (_strided(rows, tap, (1, w), stride) * g for tap in _offsets(size))
        return total + jnp.stack([product.reshape(parts, w // parts, c).sum(0) for product in products])

    total = jax.lax.fori_loop(0, b * h, row, jnp.zeros((size * size, w // parts, c), wide))
    return total.sum(1).reshape(kernel.shape).astype(kernel.dtype)


def _pad(x: Array, padding: Padding) -> Array:
    return jnp.pad(x, ((0, 0), *padding, (0, 0)))


def _strided(x: Array, first: tuple[int, int], count: tuple[int, int], stride: int) -> Array:
    """Selects `count` rows and columns, starting at `first`, with stride `stride`."""
    (i, j), (h, w) = first, count
    return x[:, i : i + (h - 1) * stride + 1 : stride, j : j + (w - 1) * stride + 1 : stride]


def _offsets(size: int) -> Iterator[tuple[int, int]]:
    return itertools.product(range(size), range(size))
