"""Max-pooling."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float


def max_pool(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
    """Computes max-pooling with 3x3 windows, stride 2 and one pixel of zero padding.

    The numbers of rows and columns must be even, and values must not be negative.
    """
    return jax.lax.platform_dependent(x, cpu=_max_of_slices, default=_max_of_windows)


def _max_of_windows(x: jax.Array) -> jax.Array:
    return nn.max_pool(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), (3, 3), (2, 2))  # zeros are safe: no value is negative


def _max_of_slices(x: jax.Array) -> jax.Array:
    """Pools one axis after the other, because the gradient of 3x3 windows takes ten times as long on a CPU."""
    x = jnp.pad(x, ((0, 0), (1, 0), (1, 0), (0, 0)))  # no zeros at the end, because the last window ends at the border
    for axis in (1, 2):
        reach = x.shape[axis] - 2
        first, second, third = (jax.lax.slice_in_dim(x, i, i + reach, 2, axis) for i in range(3))
        x = jnp.maximum(jnp.maximum(first, second), third)
    return x
