"""Winograd's minimal filtering F(4x4, 3x3): a 3x3 convolution with a quarter of the multiplications.

3x3 convolutions account for 83 % of the arithmetic operations for a frame. On a CPU, XLA's matrix products reach the same
FLOP/s as XLA's direct convolution, so fewer multiplications take less time. Layers with 64 channels or more were measured to be
1.8 to 3.5 times as fast with Winograd's algorithm. The errors were 3e-6 times the largest output. The output is computed in
tiles of 4x4 pixels, each of which needs 6x6 inputs. The formula for a tile is Y = A^T [(G k G^T) * (B^T x B)] A (Lavin and
Gray, CVPR 2016).
"""

import functools
import operator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from hmmn_jax.ops.convolution import sum_pixels

OUT, IN = 4, 6  # side lengths of a tile's output and input
KERNEL_BYTES = 24 * 2**20  # bytes of transformed kernels to use at once; about the size of a CPU's cache
BAND_BYTES = 16 * 2**20  # bytes of transformed inputs and products to compute at once; about the size of a CPU's cache


def _transforms(points: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the Cook-Toom matrices A^T [4,6], G [6,3] and B^T [6,6] for five finite points and infinity."""
    p = np.array(points)
    output, kernel, inputs = np.zeros((OUT, IN)), np.zeros((IN, 3)), np.zeros((IN, IN))
    for j, point in enumerate(p):
        others = np.delete(p, j)
        output[:, j] = point ** np.arange(OUT)
        kernel[j] = point ** np.arange(3) / np.prod(point - others)
        inputs[j, :-1] = np.poly(others)[::-1]
    output[-1, -1] = kernel[-1, -1] = 1
    inputs[-1] = np.poly(p)[::-1]
    # Scaling the rows does not change the result if the factors cancel. Rows of similar norm reduce the rounding error.
    x, y = np.linalg.norm(inputs, axis=1, keepdims=True), np.linalg.norm(output, axis=0)
    return output / y, kernel * x * y[:, None], inputs / x


# The transforms are computed as dense matrix products, so the points need not be integers. With the points 0, 3/4, -3/4, 3/2
# and -3/2, the rounding error is several times smaller than with the points 0, 1, -1, 2 and -2.
_OUTPUT, _KERNEL, _INPUT = (matrix.astype(np.float32) for matrix in _transforms((0.0, 3 / 4, -3 / 4, 3 / 2, -3 / 2)))


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def winograd_conv3x3(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "3 3 c o"],
    bias: Float[Array, " o"] | None = None,
    add: Float[Array, "b h w o"] | None = None,
    relu: bool = False,
) -> Float[Array, "b h w o"]:
    """Computes a 3x3 cross-correlation in float32 with stride 1 and a padding of one zero on every side.

    Each image is processed in bands of tile rows, so little memory is needed in addition to the input and the output. Layers
    with many input channels are processed in groups of channels whose transformed kernels fit into a CPU's cache. An input
    that is infinite or NaN affects all outputs of each tile that reads this input.

    Args:
        x: the feature map.
        kernel: the 3x3 kernel, in the layout HWIO.
        bias: a bias that is added to each pixel of the output, if given.
        add: a map that is added to the output, if given.
        relu: whether to convolve relu(x) instead of `x`. ReLU and the sums with `bias` and `add` are computed band by band.
    """
    b, h, w, c = x.shape
    o = kernel.shape[-1]
    groups = next(n for n in range(min(c, -(-4 * IN * IN * c * o // KERNEL_BYTES)), c + 1) if c % n == 0)
    channels = c // groups
    bands = _Bands.of(x, channels + o)

    def group(i: int | Array, output: Array) -> Array:
        first = i * channels
        transformed = _transform_kernel(jax.lax.dynamic_slice_in_dim(kernel, first, channels, 2), x)

        def band(i: int | Array, output: Array) -> Array:
            image, top, is_new = bands.rows(i)
            result = _convolve_tiles(bands.inputs(x, image, top, first, channels, relu), transformed)[: bands.height, :w]
            old = jax.lax.dynamic_slice(output, (image, top, 0, 0), (1, bands.height, w, o))
            return jax.lax.dynamic_update_slice(output, old + jnp.where(is_new, result, 0), (image, top, 0, 0))

        return jax.lax.fori_loop(0, b * bands.number, band, output)

    if add is not None and bias is None:
        start = add
    else:  # computed after `x`, so that the sum can overwrite `add` in memory even if `x` depends on `add`
        start = _late(jnp.zeros(o, x.dtype) if bias is None else bias, x)
        start = jnp.broadcast_to(start, (b, h, w, o)) if add is None else add + start
    return jax.lax.fori_loop(0, groups, group, start)


class _Bands(NamedTuple):
    """Splits a map into bands with the same number of tile rows. The last band of an image may overlap the previous band.

    Attributes:
        number: number of bands per image.
        tile_rows: number of tile rows per band.
        tile_columns: number of tile columns per band.
        size: height and width of the map.
    """

    number: int
    tile_rows: int
    tile_columns: int
    size: tuple[int, int]

    @classmethod
    def of(cls, x: Float[Array, "b h w c"], channels: int) -> "_Bands":
        """Chooses the bands for a map. `channels` is the number of channels for which tiles are in memory at once."""
        tile_rows, tile_columns = (-(-side // OUT) for side in x.shape[1:3])
        rows_at_once = max(1, BAND_BYTES // (4 * IN * IN * channels * tile_columns))
        count = -(-tile_rows // rows_at_once)
        return cls(count, -(-tile_rows // count), tile_columns, (x.shape[1], x.shape[2]))

    @property
    def height(self) -> int:
        """The height of a band in pixels."""
        return min(self.tile_rows * OUT, self.size[0])

    def rows(self, i: int | Array) -> tuple[int | Array, Array, Bool[Array, "y 1 1"]]:
        """Returns the image index and the top row of band `i`, and which rows of the band are not part of an earlier band."""
        image, begin = i // self.number, i % self.number * self.height
        top = jnp.minimum(begin, self.size[0] - self.height)
        return image, top, (top + jnp.arange(self.height) >= begin)[:, None, None]

    def inputs(
        self, x: Float[Array, "b h w c"], image: int | Array, top: Array, first: int | Array, channels: int, relu: bool
    ) -> Float[Array, "y x c2"]:
        """Returns the selected channels of a band, zero-padded to whole tiles, for `_transform_inputs`."""
        h, w = self.size

        def rows(row: Array, count: int) -> Array:
            return jax.lax.dynamic_slice(x, (image, row, 0, first), (1, count, w, channels))[0]

        above = jnp.where(top > 0, rows(top - 1, 1), 0)
        below = jnp.where(top + self.height < h, rows(top + self.height, 1), 0)
        band = jnp.concatenate([above, rows(top, self.height), below])
        band = jnp.maximum(band, 0) if relu else band
        after = (self.tile_rows + 1) * OUT - self.height - 2, (self.tile_columns + 1) * OUT - w - 1
        return jnp.pad(band, ((0, after[0]), (1, after[1]), (0, 0)))


def _late(values: Array | np.ndarray, x: Float[Array, "b h w c"]) -> Array:
    """Returns `values` with an artificial dependency on `x`.

    Without the dependency, XLA would compute all arrays that depend only on parameters at the start of the program, and keep
    these arrays in memory. On a CPU, `optimization_barrier` does not prevent this early computation.
    """
    difference = x[0, 0, 0, 0] - x[0, 0, 0, 0]  # 0 or NaN
    return jnp.asarray(values) + jnp.where(jnp.isnan(difference), 0, difference)


def _transform_kernel(kernel: Float[Array, "3 3 c o"], x: Float[Array, "b h w c2"]) -> Float[Array, "36 c o"]:
    """Computes G k G^T."""
    return _dot(_late(np.kron(_KERNEL, _KERNEL), x), kernel.reshape(9, -1)).reshape(IN * IN, *kernel.shape[2:])


def _convolve_forward(
    x: Array, kernel: Array, bias: Array | None, add: Array | None, relu: bool
) -> tuple[Array, tuple[Any, ...]]:
    has_bias, has_add = (None if array is None else () for array in (bias, add))
    return winograd_conv3x3(x, kernel, bias, add, relu), (x, kernel, has_bias, has_add)


def _convolve_backward(relu: bool, inputs: tuple[Any, ...], gradient: Array) -> tuple[Array, Array, Array | None, Array | None]:
    x, kernel, has_bias, has_add = inputs
    to_x = winograd_conv3x3(gradient, jnp.flip(kernel, (0, 1)).swapaxes(2, 3))
    to_x = jnp.where(x > 0, to_x, 0) if relu else to_x
    to_kernel = _kernel_gradient(x, gradient, relu)
    return to_x, to_kernel, None if has_bias is None else sum_pixels(gradient), None if has_add is None else gradient


winograd_conv3x3.defvjp(_convolve_forward, _convolve_backward)


def _kernel_gradient(x: Float[Array, "b h w c"], gradient: Float[Array, "b h w o"], relu: bool) -> Float[Array, "3 3 c o"]:
    """Computes the kernel's gradient, G^T [(B^T x B) * (A y A^T)] G, summed over tiles, where y is the output's gradient."""
    (b, _, w, c), o = x.shape, gradient.shape[-1]
    bands = _Bands.of(x, c + o)
    rows, columns = bands.tile_rows, bands.tile_columns

    def band(i: int | Array, total: Array) -> Array:
        image, top, is_new = bands.rows(i)
        inputs = _transform_inputs(bands.inputs(x, image, top, 0, c, relu))
        tiles = jnp.where(is_new, jax.lax.dynamic_slice(gradient, (image, top, 0, 0), (1, bands.height, w, o))[0], 0)
        tiles = jnp.pad(tiles, ((0, rows * OUT - bands.height), (0, columns * OUT - w), (0, 0)))
        tiles = tiles.reshape(rows, OUT, columns, OUT, o).transpose(1, 3, 0, 2, 4).reshape(OUT * OUT, -1, o)
        outputs = _dot(np.kron(_OUTPUT, _OUTPUT).T, tiles)
        inputs, outputs = jax.lax.optimization_barrier((inputs, outputs))  # prevents XLA from choosing column-major order
        return total + jax.lax.dot_general(inputs, outputs, (((1,), (1,)), ((0,), (0,))), jax.lax.Precision.HIGHEST)

    total = jax.lax.fori_loop(0, b * bands.number, band, jnp.zeros((IN * IN, c, o), x.dtype))
    return _dot(np.kron(_KERNEL, _KERNEL).T, total.reshape(IN * IN, -1)).reshape(3, 3, c, o)


def _transform_inputs(x: Float[Array, "y x c"]) -> Float[Array, "36 n c"]:
    """Computes B^T x B for all n tiles. `x` contains the inputs of whole tiles and has 4 more rows and columns than the output.

    Only the first 2 of the 4 additional rows and columns are inputs of a tile. The last 2 rows and columns only make the shapes
    uniform.
    """
    rows, columns, c = x.shape[0] // OUT - 1, x.shape[1] // OUT - 1, x.shape[2]
    # Compute B^T x. The 6 input rows of a tile row are its own 4 rows and the first 2 rows of the next tile row.
    own = x.reshape(rows + 1, OUT, -1, c).swapaxes(0, 1)
    overlapping = jnp.concatenate([own[:, :rows], own[: IN - OUT, 1:]])  # [6,rows,..,c]
    z = _dot(_INPUT, overlapping).reshape(IN, rows, columns + 1, OUT, c)
    # Compute (B^T x) B as a sum over the 6 input columns. XLA fuses slices and products into one loop without copying tiles.
    terms = (z[:, None, :, s // OUT : s // OUT + columns, s % OUT] * _INPUT[:, s].reshape(1, IN, 1, 1, 1) for s in range(IN))
    return functools.reduce(operator.add, terms).reshape(IN * IN, rows * columns, c)


def _convolve_tiles(x: Float[Array, "y x c"], transformed: Float[Array, "36 c o"]) -> Float[Array, "y2 x2 o"]:
    """Computes the outputs of all tiles as a map. `x` has the same layout as in `_transform_inputs`."""
    rows, columns = x.shape[0] // OUT - 1, x.shape[1] // OUT - 1
    products = jax.lax.batch_matmul(_transform_inputs(x), transformed, jax.lax.Precision.HIGHEST)
    # Compute A^T [..] A as one dense product. XLA would fuse two separate products and compute both twice.
    y = _dot(np.kron(_OUTPUT, _OUTPUT), products).reshape(OUT, OUT, rows, columns, -1)
    return y.transpose(2, 0, 3, 1, 4).reshape(rows * OUT, columns * OUT, -1)


def _dot(matrix: np.ndarray | Array, x: Array) -> Array:
    return jnp.tensordot(matrix, x, 1, precision=jax.lax.Precision.HIGHEST)
