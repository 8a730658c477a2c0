"""The precision policy, in one place.

Parameters are float32. Convolutions compute in `HMMNConfig.dtype` (None: the dtype of the variables, so float64 variables
compute in float64 throughout). Affinities, softmax, soft aggregation and losses are at least float32, and so are their
products: a "float32" product is bfloat16 on a TPU and TF32 on a GPU unless it is asked to be exact.
"""

import jax
import jax.numpy as jnp
import numpy as np


def at_least_float32(*arrays: jax.Array | np.ndarray) -> jnp.dtype:
    """The dtype in which numbers are compared and added up: that of the arrays, or float32 if theirs is narrower."""
    return jnp.promote_types(jnp.result_type(*arrays), jnp.float32)


def has_float64() -> bool:
    """Whether JAX has float64 here, which JAX_ENABLE_X64=1 switches on."""
    return jax.dtypes.canonicalize_dtype(np.float64) == np.float64


def exact_einsum(subscripts: str, *operands: jax.Array) -> jax.Array:
    """An einsum whose products and sums are at least float32, on every device."""
    return jnp.einsum(
        subscripts, *operands, precision=jax.lax.Precision.HIGHEST, preferred_element_type=at_least_float32(*operands)
    )
