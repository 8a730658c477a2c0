"""Winograd's minimal filtering F(4x4, 3x3): a 3x3 convolution with a quarter of the multiplications.

On a CPU, such convolutions are 83 % of the arithmetic of a frame, and XLA's matrix products have the same rate as its direct
convolution. Layers with 64 channels or more were measured to be 1.8 to 3.5 times as fast, with errors of 3e-6 of the largest
output. Y = A^T [(G k G^T) * (B^T x B)] A, in tiles of 4x4 outputs that need 6x6 inputs (Lavin and Gray, CVPR 2016).
"""

import functools
import operator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

OUT, IN = 4, 6  # size of a tile's outputs and inputs
BAND_BYTES = 16 * 2**20  # bytes of transformed inputs and products at once: about the size of a CPU's cache


def _transforms(points: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cook-Toom's matrices A^T [4,6], G [6,3], B^T [6,6] for five finite points and infinity."""
    p = np.array(points)
    output, kernel, inputs = np.zeros((OUT, IN)), np.zeros((IN, 3)), np.zeros((IN, IN))
    for j, point in enumerate(p):
        others = np.delete(p, j)
        output[:, j] = point ** np.arange(OUT)
        kernel[j] = point ** np.arange(3) / np.prod(point - others)
        inputs[j, :-1] = np.poly(others)[::-1]
    output[-1, -1] = kernel[-1, -1] = 1
    inputs[-1] = np.poly(p)[::-1]
    # Rows can be scaled if the product does not change; rows of similar size lose less precision.
    x, y = np.linalg.norm(inputs, axis=1, keepdims=True), np.linalg.norm(output, axis=0)
    return output / y, kernel * x * y[:, None], inputs / x


# The transforms are dense products here, so points need not be integers. These points lose several times less precision than 0,
# 1, -1, 2, -2.
_OUTPUT, _KERNEL, _INPUT = (matrix.astype(np.float32) for matrix in _transforms((0.0, 3 / 4, -3 / 4, 3 / 2, -3 / 2)))


@jax.custom_vjp
def winograd_conv3x3(x: Float[Array, "b h w c"], kernel: Float[Array, "3 3 c o"]) -> Float[Array, "b h w o"]:
    """3x3 cross-correlation of stride 1 with one zero around, float32.

    Each image is processed in bands of tile rows, which needs little memory besides input and output. (An infinity or NaN in
    the input affects its whole tile.)
    """
    b, h, w, c = x.shape
    o = kernel.shape[-1]
    # Selects one of two equal matrices by x. Otherwise, XLA would transform all kernels of a network at its start, and keep
    # them (an optimization_barrier does not prevent this on a CPU).
    matrix = jnp.asarray(np.stack([np.kron(_KERNEL, _KERNEL)] * 2))[jnp.isnan(x[0, 0, 0, 0]).astype(int)]
    transformed = _dot(matrix, kernel.reshape(9, c * o)).reshape(IN * IN, c, o)
    bands, band_rows, tile_columns = _bands(h, w, c + o)
    # Rows of output per band; the last band overlaps the previous one instead of being smaller.
    height = min(band_rows * OUT, h)

    def band(i: int | Array, output: Array) -> Array:
        image, top = i // bands, jnp.minimum(i % bands * height, h - height)

        def rows(first: int | Array, count: int) -> Array:
            return jax.lax.dynamic_slice(x, (image, first, 0, 0), (1, count, w, c))[0]

        above = jnp.where(top > 0, rows(top - 1, 1), 0)
        below = jnp.where(top + height < h, rows(top + height, 1), 0)
        window = jnp.concatenate([above, rows(top, height), below])
        window = jnp.pad(window, ((0, (band_rows + 1) * OUT - height - 2), (1, (tile_columns + 1) * OUT - w - 1), (0, 0)))
        result = _convolve_tiles(window, transformed)[None, :height, :w]
        return jax.lax.dynamic_update_slice(output, result, (image, top, 0, 0))

    # The buffer that the loop writes to. It is made from x, because XLA would allocate the zeros of all layers at the start.
    blank = jnp.broadcast_to(x[0, 0, 0, 0], (b, h, w, o))
    return jax.lax.fori_loop(0, b * bands, band, blank)


def _convolve_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return winograd_conv3x3(x, kernel), (x, kernel)


def _convolve_backward(inputs: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    x, kernel = inputs
    return winograd_conv3x3(gradient, jnp.flip(kernel, (0, 1)).swapaxes(2, 3)), _kernel_gradient(x, gradient)


winograd_conv3x3.defvjp(_convolve_forward, _convolve_backward)


def _kernel_gradient(x: Float[Array, "b h w c"], gradient: Float[Array, "b h w o"]) -> Float[Array, "3 3 c o"]:
    """The transpose of the convolution as a function of the kernel: G^T [(B^T x B) * (A y A^T)] G, summed over tiles."""
    b, h, w, c = x.shape
    o = gradient.shape[-1]
    bands, band_rows, tile_columns = _bands(h, w, c + o)
    height, width = band_rows * OUT, tile_columns * OUT
    x = jnp.pad(x, ((0, 0), (1, bands * height + OUT - h - 1), (1, width + OUT - w - 1), (0, 0)))
    gradient = jnp.pad(gradient, ((0, 0), (0, bands * height - h), (0, width - w), (0, 0)))

    def band(i: int | Array, total: Array) -> Array:
        start = i // bands, i % bands * height, 0, 0
        inputs = _transform_inputs(jax.lax.dynamic_slice(x, start, (1, height + OUT, width + OUT, c))[0])
        tiles = jax.lax.dynamic_slice(gradient, start, (1, height, width, o)).reshape(band_rows, OUT, tile_columns, OUT, o)
        outputs = _dot(np.kron(_OUTPUT, _OUTPUT).T, tiles.transpose(1, 3, 0, 2, 4).reshape(OUT * OUT, -1, o))
        inputs, outputs = jax.lax.optimization_barrier((inputs, outputs))  # otherwise XLA writes them in column-major order
        return total + jax.lax.dot_general(inputs, outputs, (((1,), (1,)), ((0,), (0,))), jax.lax.Precision.HIGHEST)

    total = jax.lax.fori_loop(0, b * bands, band, jnp.zeros((IN * IN, c, o), x.dtype))
    return _dot(np.kron(_KERNEL, _KERNEL).T, total.reshape(IN * IN, -1)).reshape(3, 3, c, o)


def _bands(height: int, width: int, channels: int) -> tuple[int, int, int]:
    """Bands of a map, tile rows of a band, and tile columns. `channels` is the number of channels in memory at once."""
    tile_rows, tile_columns = -(-height // OUT), -(-width // OUT)
    rows_at_once = max(1, BAND_BYTES // (4 * IN * IN * channels * tile_columns))
    bands = -(-tile_rows // rows_at_once)
    return bands, -(-tile_rows // bands), tile_columns


def _transform_inputs(x: Float[Array, "y x c"]) -> Float[Array, "36 n c"]:
    """B^T x B of all n tiles. x has the inputs of whole tiles, with 4 rows and columns more than outputs.

    Of these, only the first 2 are inputs; the others make the shapes uniform.
    """
    rows, columns, c = x.shape[0] // OUT - 1, x.shape[1] // OUT - 1, x.shape[2]
    # B^T x: the 6 input rows of a tile row are 4 of its own and the first 2 of the next.
    own = x.reshape(rows + 1, OUT, -1, c).swapaxes(0, 1)
    overlapping = jnp.concatenate([own[:, :rows], own[: IN - OUT, 1:]])  # [6,rows,..,c]
    z = _dot(_INPUT, overlapping).reshape(IN, rows, columns + 1, OUT, c)
    # (B^T x) B as a sum over the 6 input columns: slices and products are fused into one loop, without copies of tiles.
    terms = (z[:, None, :, s // OUT : s // OUT + columns, s % OUT] * _INPUT[:, s].reshape(1, IN, 1, 1, 1) for s in range(IN))
    return functools.reduce(operator.add, terms).reshape(IN * IN, rows * columns, c)


def _convolve_tiles(x: Float[Array, "y x c"], transformed: Float[Array, "36 c o"]) -> Float[Array, "y2 x2 o"]:
    """Computes the outputs of all tiles as a map; `x` is as in `_transform_inputs`."""
    rows, columns = x.shape[0] // OUT - 1, x.shape[1] // OUT - 1
    products = jax.lax.batch_matmul(_transform_inputs(x), transformed, jax.lax.Precision.HIGHEST)
    # A^T [..] A as one dense product, so that XLA does not merge the steps and compute them twice.
    y = _dot(np.kron(_OUTPUT, _OUTPUT), products).reshape(OUT, OUT, rows, columns, -1)
    return y.transpose(2, 0, 3, 1, 4).reshape(rows * OUT, columns * OUT, -1)


def _dot(matrix: np.ndarray | Array, x: Array) -> Array:
    return jnp.tensordot(matrix, x, 1, precision=jax.lax.Precision.HIGHEST)
