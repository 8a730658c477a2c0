"""Defines the precision policy.

Parameters are float32. Convolutions are computed in `HMMNConfig.dtype`, or in the dtype of the variables if `HMMNConfig.dtype`
is None. With float64 variables and no `dtype`, all computations are in float64.

Affinities, softmax, soft aggregation and losses, including all their products, are computed in at least float32. (By default,
JAX computes float32 products in bfloat16 on a TPU and in TF32 on a GPU.) Only `values_einsum`, which reads values from the
memory, may have lower precision. On GPUs and TPUs, `values_einsum` has the same precision as convolutions. Readouts are
averages, which are not sensitive to rounding. Affinities select cells, and rounded affinities would select different cells.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from hmmn_jax.ops.platform import by_platform


def at_least_float32(*arrays: jax.Array | np.ndarray) -> jnp.dtype:
    """Returns the dtype for comparisons and sums: the dtype of the arrays, but at least float32."""
    return jnp.promote_types(jnp.result_type(*arrays), jnp.float32)


def has_float64() -> bool:
    """Returns whether float64 is enabled in JAX, for example by JAX_ENABLE_X64=1."""
    return jax.dtypes.canonicalize_dtype(np.float64) == np.float64


def exact_einsum(subscripts: str, *operands: jax.Array) -> jax.Array:
    """Computes an einsum with products and sums in at least float32, on every device."""
    return jnp.einsum(
        subscripts, *operands, precision=jax.lax.Precision.HIGHEST, preferred_element_type=at_least_float32(*operands)
    )


def values_einsum(subscripts: str, weights: jax.Array, values: jax.Array) -> jax.Array:
    """Computes an einsum of softmax weights and values, with sums in at least float32.

    On a CPU, this function calls `exact_einsum`. On other devices, weights are cast to the dtype of the values, and products
    have JAX's default precision. Products of bfloat16 or float64 values are computed in the dtype of the values. Products of
    float32 values are computed in TF32 on GPUs and in bfloat16 on TPUs, unless `jax.default_matmul_precision` is set.
    """
    exact = functools.partial(exact_einsum, subscripts)
    return by_platform(weights, values, cpu=exact, default=functools.partial(fast_values_einsum, subscripts))


def fast_values_einsum(subscripts: str, weights: jax.Array, values: jax.Array) -> jax.Array:
    """Computes an einsum of softmax weights and values as `values_einsum` does on GPUs and TPUs."""
    wide = at_least_float32(weights, values)
    return jnp.einsum(subscripts, weights.astype(values.dtype), values, preferred_element_type=wide)
