"""The precision policy, in one place.

Parameters are float32. Convolutions compute in `HMMNConfig.dtype` (None: the dtype of the variables, so float64 variables
compute in float64 throughout). Affinities, softmax, soft aggregation and losses are at least float32, as are their products. By
default, a float32 product is computed in bfloat16 on a TPU and in TF32 on a GPU. The exception is `values_einsum`, the products
that read values from the memory: on GPUs and TPUs they have the precision of convolutions. Readouts are averages, which are not
sensitive to rounding. Affinities select cells, and rounding them would select different cells.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from hmmn_jax.ops.platform import by_platform


def at_least_float32(*arrays: jax.Array | np.ndarray) -> jnp.dtype:
    """The dtype of comparisons and sums: the dtype of the arrays, but at least float32."""
    return jnp.promote_types(jnp.result_type(*arrays), jnp.float32)


def has_float64() -> bool:
    """Whether float64 is enabled in JAX, for example with JAX_ENABLE_X64=1."""
    return jax.dtypes.canonicalize_dtype(np.float64) == np.float64


def exact_einsum(subscripts: str, *operands: jax.Array) -> jax.Array:
    """An einsum whose products and sums are at least float32, on every device."""
    return jnp.einsum(
        subscripts, *operands, precision=jax.lax.Precision.HIGHEST, preferred_element_type=at_least_float32(*operands)
    )


def values_einsum(subscripts: str, weights: jax.Array, values: jax.Array) -> jax.Array:
    """An einsum of softmax weights and values, summed in at least float32.

    On a CPU, this is `exact_einsum`. Elsewhere, weights are cast to the dtype of the values, and products have JAX's default
    precision: bfloat16 values in bfloat16; float64 values in float64; float32 values in TF32 on GPUs and in bfloat16 on TPUs,
    unless `jax.default_matmul_precision` is set.
    """
    exact = functools.partial(exact_einsum, subscripts)
    return by_platform(weights, values, cpu=exact, default=functools.partial(fast_values_einsum, subscripts))


def fast_values_einsum(subscripts: str, weights: jax.Array, values: jax.Array) -> jax.Array:
    """The implementation of `values_einsum` for GPUs and TPUs."""
    wide = at_least_float32(weights, values)
    return jnp.einsum(subscripts, weights.astype(values.dtype), values, preferred_element_type=wide)
