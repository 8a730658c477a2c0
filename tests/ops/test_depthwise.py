"""Compares depthwise convolution and its gradients, for CPUs and for accelerators, with loops over taps and pixels."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hmmn_jax.ops import depthwise
from hmmn_jax.ops.depthwise import depthwise_conv2d, depthwise_padded

# Keys: side length of the map, kernel size, stride. Values: TensorFlow's padding before and after.
SAME = {
    (6, 3, 1): (1, 1),
    (7, 3, 1): (1, 1),
    (6, 3, 2): (0, 1),
    (7, 3, 2): (1, 1),
    (6, 5, 1): (2, 2),
    (7, 5, 1): (2, 2),
    (6, 5, 2): (1, 2),
    (7, 5, 2): (2, 2),
}


def by_loops(x, kernel, stride, padding, gradient=None):
    """Returns the output, and the gradients of the input and the kernel, given the `gradient` of the output (None means 0)."""
    size = len(kernel)
    padded = np.pad(x, ((0, 0), *padding, (0, 0)))
    y = np.zeros((len(x), *((side - size) // stride + 1 for side in padded.shape[1:3]), x.shape[3]))
    to_padded, to_kernel = np.zeros_like(padded), np.zeros_like(kernel)
    for image, row, column, channel in np.ndindex(y.shape):
        for i, j in np.ndindex(size, size):
            at = image, row * stride + i, column * stride + j, channel
            y[image, row, column, channel] += padded[at] * kernel[i, j, 0, channel]
            if gradient is not None:
                to_padded[at] += gradient[image, row, column, channel] * kernel[i, j, 0, channel]
                to_kernel[i, j, 0, channel] += gradient[image, row, column, channel] * padded[at]
    (above, _), (left, _) = padding
    return y, to_padded[:, above : above + x.shape[1], left : left + x.shape[2]], to_kernel


@pytest.mark.parametrize("padding", ["same", "torch", "of columns"])
@pytest.mark.parametrize(("size", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])
def test_it_and_its_gradients(x64, size, stride, padding):
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(2, 6, 7, 3)), rng.normal(size=(size, size, 1, 3))
    zeros = {
        "same": tuple(SAME[side, size, stride] for side in (6, 7)),
        "torch": ((size // 2, size // 2),) * 2,
        "of columns": ((0, 0), SAME[7, size, stride]),
    }[padding]
    height = (6 + sum(zeros[0]) - size) // stride + 1
    gradient = rng.normal(size=(2, height, -(-7 // stride), 3))
    expected = by_loops(x, kernel, stride, zeros, gradient)

    @functools.partial(jax.jit, static_argnums=0)
    def run(form, x, kernel, gradient):
        y, backward = jax.vjp(form, x, kernel)
        return y, *backward(gradient)

    def public(x, kernel):
        return depthwise_conv2d(x, kernel, stride, padding == "same")

    def padded(form):
        return lambda x, kernel: form(x, kernel, stride, zeros)

    # `_grouped` is the implementation for accelerators. The tests run on a CPU, so `_grouped` is called directly.
    for form in (padded(depthwise_padded), padded(depthwise._grouped), *([] if padding == "of columns" else [public])):
        for found, wanted in zip(run(form, x, kernel, gradient), expected, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12)


def test_bfloat16_is_summed_in_float32():
    """Sums 4096 ones. In bfloat16, the sum would stop at 256, because 256 + 1 is rounded to 256."""
    x, kernel = jnp.ones((1, 64, 64, 2), jnp.bfloat16), jnp.ones((3, 3, 1, 2), jnp.bfloat16)
    y, backward = jax.vjp(depthwise_conv2d, x, kernel)
    to_x, to_kernel = backward(jnp.ones_like(y))
    assert {array.dtype for array in (y, to_x, to_kernel)} == {jnp.dtype(jnp.bfloat16)}
    assert y[0, 1, 1, 0] == to_x[0, 1, 1, 0] == 9
    assert to_kernel[1, 1, 0, 0] == 4096
