"""Convolution and broadcasting with gradients that are fast on a CPU.

On a CPU, XLA computes two gradients slowly: the gradient of a convolution's kernel, and the gradient of values that are
broadcast to all pixels. On CPUs, this module computes both gradients as matrix products. On other devices, this module uses
XLA's gradients.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hmmn_jax.ops.precision import exact_einsum

FEW_CHANNELS = 4  # convolutions with at most this many input channels are treated as the first layer of a network
BAND_BYTES = 8 * 2**20  # bytes of input and output to process at once; about the size of a CPU's cache


def zeros_around(side: int, size: int, stride: int, same: bool) -> tuple[int, int]:
    """Returns the padding before and after an axis such that a convolution has ceil(side / stride) outputs.

    In PyTorch, the padding is size // 2 at both ends. TensorFlow's padding "SAME" is as small as possible. If the total padding
    is odd, the larger part is at the end. For example, for a 3x3 kernel at stride 2 and an even side, TensorFlow's padding is 0
    at the start and 1 at the end. At stride 1, PyTorch and TensorFlow have the same padding for kernels of odd size.
    """
    if not same:
        return size // 2, size // 2
    fewest = max((-(-side // stride) - 1) * stride + size - side, 0)
    return fewest // 2, fewest - fewest // 2


def pad(x: Float[Array, "b h w c"], size: int, stride: int, same: bool) -> Float[Array, "b h2 w2 c"]:
    """Pads a map with the numbers of zeros that `zeros_around` returns."""
    return jnp.pad(x, ((0, 0), *(zeros_around(side, size, stride, same) for side in x.shape[1:3]), (0, 0)))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def convolve(
    x: Float[Array, "b h w c"], kernel: Float[Array, "k k c o"], stride: int, same: bool = False
) -> Float[Array, "b h2 w2 o"]:
    """Computes a cross-correlation with the padding that `zeros_around` returns."""
    size = kernel.shape[0]
    if size == 1:  # a matrix product, which is slightly faster in XLA than a convolution
        return jnp.tensordot(x[:, ::stride, ::stride], kernel[0, 0], 1)
    padding = [zeros_around(side, size, stride, same) for side in x.shape[1:3]]
    return jax.lax.conv_general_dilated(x, kernel, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _convolve_forward(x: Array, kernel: Array, stride: int, same: bool) -> tuple[Array, tuple[Array, Array]]:
    return convolve(x, kernel, stride, same), (x, kernel)


def _convolve_backward(
    stride: int, same: bool, inputs: tuple[Array, Array], gradient: Array | np.ndarray
) -> tuple[Array, Array]:
    def by_xla(x: Array, kernel: Array, gradient: Array) -> tuple[Array, Array]:
        return jax.vjp(functools.partial(convolve.fun, stride=stride, same=same), x, kernel)[1](gradient)

    def on_cpu(x: Array, kernel: Array, gradient: Array) -> tuple[Array, Array]:
        to_kernel = kernel_gradient(x, gradient, kernel.shape[0], stride, same)
        return by_xla(x, kernel, gradient)[0], to_kernel.astype(kernel.dtype)

    return jax.lax.platform_dependent(*inputs, gradient, cpu=on_cpu, default=by_xla)


convolve.defvjp(_convolve_forward, _convolve_backward)


def kernel_gradient(
    x: Float[Array, "b h w c"], gradient: Float[Array, "b h2 w2 o"], size: int, stride: int, same: bool = False
) -> Float[Array, "k k c o"]:
    """Computes the gradient of `convolve` with respect to the kernel, in at least float32, as a matrix product for each tap.

    XLA would transpose both maps and compute a convolution with a kernel as large as a map. This convolution takes
    at least twice as long as the matrix products.
    """
    b, h, w, c, o = *gradient.shape[:3], x.shape[-1], gradient.shape[-1]
    if size == 1:
        x = _keep_layout(x[:, ::stride, ::stride]) if stride > 1 else x
        return _product_of_rows(x.reshape(-1, c), gradient.reshape(-1, o))[None, None]
    x = pad(x, size, stride, same)
    most = max(1, BAND_BYTES // (x[0, 0].size * stride + gradient[0, 0].size) // x.dtype.itemsize)
    rows = next(rows for rows in range(min(most, h), 0, -1) if h % rows == 0)

    def band(index: int | Array, total: Array) -> Array:
        image, top = jnp.divmod(index, h // rows)
        reach = (rows - 1) * stride + size
        part = jax.lax.dynamic_slice(x, (image, top * rows * stride, 0, 0), (1, reach, x.shape[2], c))[0]
        g = jax.lax.dynamic_slice(gradient, (image, top * rows, 0, 0), (1, rows, w, o))[0]
        g = _keep_layout(g.reshape(rows * w, o).T)

        def tap(index: int | Array) -> Array:
            reach = (rows - 1) * stride + 1, (w - 1) * stride + 1, c
            return jax.lax.dynamic_slice(part, (index // size, index % size, 0), reach)[::stride, ::stride].reshape(rows * w, c)

        def product(taps: Array) -> Array:
            return exact_einsum("on,nc->oc", g, _keep_layout(taps))

        if c <= FEW_CHANNELS:  # a single product, because matrices for individual taps would be too narrow
            taps = jnp.concatenate([tap(i) for i in range(size * size)], axis=1)
            return total + product(taps).reshape(o, size * size, c).swapaxes(0, 1)
        return total + jax.lax.map(lambda index: product(tap(index)), jnp.arange(size * size))

    zeros = jnp.zeros((size * size, o, c), exact_einsum("c,o->oc", x[0, 0, 0], gradient[0, 0, 0]).dtype)
    total = jax.lax.fori_loop(0, b * (h // rows), band, zeros)
    return total.swapaxes(1, 2).reshape(size, size, c, o)


def _product_of_rows(x: Float[Array, "n c"], y: Float[Array, "n o"]) -> Float[Array, "c o"]:
    """Computes x^T y after transposing the narrower matrix. Without the transposition, XLA takes up to twice as long."""
    if x.shape[1] <= y.shape[1]:
        return exact_einsum("cn,no->co", _keep_layout(x.T), _keep_layout(y))
    return exact_einsum("on,nc->oc", _keep_layout(y.T), _keep_layout(x)).T


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def at_all_pixels(values: Float[Array, " c"], shape: tuple[int, ...]) -> Float[Array, "b h w c"]:
    """Broadcasts one value per channel to the shape of a map."""
    return jnp.broadcast_to(values, shape)


def sum_pixels(x: Float[Array | np.ndarray, "b h w c"]) -> Float[Array, " c"]:
    """Computes the sum over all pixels, which is the gradient of `at_all_pixels`."""

    def on_cpu(x: Array) -> Array:  # XLA's sum over rows is slow, because XLA uses column-major order
        rows = _keep_layout(x.reshape(-1, x.shape[-1]))
        return exact_einsum("n,nc->c", jnp.ones(len(rows), x.dtype), rows).astype(x.dtype)

    return jax.lax.platform_dependent(x, cpu=on_cpu, default=lambda x: x.sum((0, 1, 2)))


at_all_pixels.defvjp(
    lambda values, shape: (at_all_pixels(values, shape), None), lambda _, __, gradient: (sum_pixels(gradient),)
)


def _keep_layout(rows: Array) -> Array:
    """Prevents XLA from copying a product's operand to another layout, because the copy takes longer than the product."""
    return jax.lax.optimization_barrier(rows)
