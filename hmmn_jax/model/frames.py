"""Prepares frames for the network: scales values to [0, 1], and pads sides to multiples of 16."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

STRIDE = 16

# The sum of _HIGH and _LOW is 1/255. _HIGH has 16 significant bits, so the product of _HIGH and an 8-bit number is exact in
# float32.
_HIGH = np.float32(np.round(2.0**23 / 255) / 2.0**23)
_LOW = np.float32(1 / 255 - float(_HIGH))


def to_unit_range(frame: Num[Array, "*b h w 3"]) -> Float[Array, "*b h w 3"]:
    """Divides 8-bit RGB by 255 in float32, correctly rounded. Floats must already be in [0, 1] and are returned unchanged.

    Under jit, XLA replaces x / 255 with x * (1 / 255). For half of all values, the product differs from the quotient by one
    ulp. This error changes logits by 3e-6. The sum of two products in this function is the correctly rounded quotient for each
    of the 256 values. Unlike a lookup table, this function needs no gather on an accelerator.
    """
    if jnp.issubdtype(frame.dtype, jnp.floating):
        return frame
    value = frame.astype(jnp.float32)
    return value * _HIGH + value * _LOW


def stride_padding(height: int, width: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Returns the padding ((top, bottom), (left, right)) that makes both sides multiples of 16.

    The frame is centred. If the total padding of an axis is odd, the smaller part is at the top or left.
    """
    more_rows, more_columns = -height % STRIDE, -width % STRIDE
    return (more_rows // 2, more_rows - more_rows // 2), (more_columns // 2, more_columns - more_columns // 2)


def pad_to_stride(x: jax.Array, axes: tuple[int, int]) -> jax.Array:
    """Pads the two spatial `axes` of `x` with zeros, so that the sizes of these axes are multiples of 16."""
    widths = [(0, 0)] * x.ndim
    for axis, width in zip(axes, stride_padding(x.shape[axes[0]], x.shape[axes[1]]), strict=True):
        widths[axis] = width
    return jnp.pad(x, widths)


def crop_from_stride(x: Float[Array, "*b h w"], height: int, width: int) -> Float[Array, "*b {height} {width}"]:
    """Removes the padding that `pad_to_stride` added to the last two axes."""
    (top, _), (left, _) = stride_padding(height, width)
    return x[..., top : top + height, left : left + width]
