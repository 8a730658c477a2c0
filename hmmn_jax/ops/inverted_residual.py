"""Inverted residual of MobileNet and EfficientNet: a 1x1 expansion, a depthwise convolution and a 1x1 projection, with biases.

The expanded map is several times as large as the input and the output. On a CPU, large maps are processed in bands of rows that
fit into the cache. The three layers and their gradients are computed for one band before the next band is processed. The
following times are for one forward and one backward pass with six images of 192x192 on two cores. Bands reduced the time from
33 ms to 14 ms in one of the two largest blocks of EfficientNet-Lite0, and from 25 ms to 12 ms in the other block.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hmmn_jax.ops.convolution import at_all_pixels, convolve, zeros_around
from hmmn_jax.ops.depthwise import Padding, depthwise_padded

BAND_BYTES = 5 * 2**19  # bytes of the expanded map to process at once; about the size of a CPU's cache
FEWEST_BANDS = 4  # in a measurement, fewer bands took the same time as the whole map


class Weights(NamedTuple):
    """The kernel `[k,k,i,o]` and the bias `[o]` of a convolution. A bias of None means 0."""

    kernel: jax.Array
    bias: jax.Array | None


def inverted_residual(
    x: Float[Array, "b h w c"], expand: Weights | None, depthwise: Weights, project: Weights, stride: int
) -> Float[Array, "b h2 w2 o"]:
    """Applies the layers, but not the shortcut, with ReLU6 after the first two layers and TensorFlow's padding "SAME".

    If `expand` is None, there is no expansion layer.
    """
    size, wide = len(depthwise.kernel), depthwise.kernel.shape[-1]
    above, left = (zeros_around(side, size, stride, True) for side in x.shape[1:3])
    height = -(-x.shape[1] // stride)
    row_bytes = stride * x.shape[0] * (x.shape[2] + sum(left)) * wide * depthwise.kernel.dtype.itemsize
    rows = max(1, BAND_BYTES // row_bytes)
    whole = functools.partial(_layers, stride=stride, padding=(above, left))
    if expand is None or math.ceil(height / rows) < FEWEST_BANDS:
        return whole(x, expand, depthwise, project)
    bands = functools.partial(_in_bands, stride=stride, padding=(above, left), rows=rows)
    return jax.lax.platform_dependent(x, expand, depthwise, project, cpu=bands, default=whole)


def relu6(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Clips values to [0, 6]. The gradient is 0 at both limits, as in PyTorch."""
    return jax.lax.clamp(jnp.zeros((), x.dtype), x, jnp.full((), 6, x.dtype))


def _layers(x: Array, expand: Weights | None, depthwise: Weights, project: Weights, stride: int, padding: Padding) -> Array:
    if expand is not None:
        x = _expanded(x, expand)
    return _behind_expansion(x, depthwise, project, stride, padding)


def _in_bands(
    x: Array, expand: Weights, depthwise: Weights, project: Weights, stride: int, padding: Padding, rows: int
) -> Array:
    (above, _), sides = padding
    height, size = x.shape[1], len(depthwise.kernel)
    outputs = -(-height // stride)
    count, reach = -(-outputs // rows), (rows - 1) * stride + size  # number of bands; input rows per band, including overlap
    starts = [band * rows * stride for band in range(count)]
    x = jnp.pad(x, ((0, 0), (above, starts[-1] + reach - height - above), (0, 0), (0, 0)))
    parts = jnp.stack([x[:, start : start + reach] for start in starts])

    @jax.checkpoint
    def band(part: tuple[Array, Array]) -> Array:
        x, start = part
        row = start - above + jnp.arange(reach)
        x = jnp.where(((row >= 0) & (row < height))[:, None, None], _expanded(x, expand), 0)  # rows of padding must be 0
        if stride == 1:
            # Without this barrier, XLA recomputes each expanded pixel for each tap and takes twice as long. At stride 2, the
            # barrier is not needed, because taps have fewer pixels in common.
            x = jax.lax.optimization_barrier(x)
        return _behind_expansion(x, depthwise, project, stride, ((0, 0), sides))

    y = jnp.moveaxis(jax.lax.map(band, (parts, jnp.array(starts))), 0, 1)
    return y.reshape(y.shape[0], count * rows, *y.shape[3:])[:, :outputs]


def _expanded(x: Array, expand: Weights) -> Array:
    return relu6(_biased(convolve(x, expand.kernel, 1), expand.bias))


def _behind_expansion(x: Array, depthwise: Weights, project: Weights, stride: int, padding: Padding) -> Array:
    x = relu6(_biased(depthwise_padded(x, depthwise.kernel, stride, padding), depthwise.bias))
    return _biased(convolve(x, project.kernel, 1), project.bias)


def _biased(x: Array, bias: Array | None) -> Array:
    return x if bias is None else x + at_all_pixels(bias, x.shape)
