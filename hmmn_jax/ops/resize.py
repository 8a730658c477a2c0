"""Bilinear upsampling."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def upsample(x: Float[Array, "b h w c"], factor: int) -> Float[Array, "b h2 w2 c"]:
    """Upsamples bilinearly by an even `factor`, like PyTorch's `F.interpolate(mode="bilinear", align_corners=False)`.

    The result is computed as sums of neighbours. `jax.image.resize` uses matrix products and takes ten times as long on a CPU.
    """
    return _upsample_axis(_upsample_axis(x, factor, 1), factor, 2)


def _upsample_axis(x: jax.Array, factor: int, axis: int) -> jax.Array:
    """Upsamples one axis. Output i of a cell is (i + 1/2) / factor - 1/2 cells away from the centre of the cell."""
    size = x.shape[axis]
    part = functools.partial(jax.lax.slice_in_dim, x, axis=axis)
    before = jnp.concatenate([part(0, 1), part(0, size - 1)], axis)
    after = jnp.concatenate([part(1, size), part(size - 1, size)], axis)
    offsets = [(i + 0.5) / factor - 0.5 for i in range(factor)]
    outputs = [(1 - abs(offset)) * x + abs(offset) * (after if offset > 0 else before) for offset in offsets]
    return jnp.stack(outputs, axis + 1).reshape(*x.shape[:axis], size * factor, *x.shape[axis + 1 :])
