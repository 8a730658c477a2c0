"""Checks whether XLA computes correct results on this machine's CPU. Some releases of jaxlib compute wrong results."""

import functools
import importlib.metadata
import warnings

import jax
import jax.numpy as jnp
import numpy as np

ROWS = 40_000  # errors occur in batches of 32,769 rows or more
WAY_OUT = "--xla_cpu_experimental_ynn_fusion_type="


@functools.cache
def reductions_are_sound() -> bool:
    """Returns whether reductions over long batches are correct under jit (jax issue 39103, seen with jaxlib 0.10.2 on a CPU).

    The check takes a fraction of a second, and the result is cached.
    """
    matrix = jnp.eye(3)

    def squares(rows: jax.Array) -> jax.Array:
        return jax.vmap(lambda row: jnp.sum((matrix @ row) ** 2))(rows)

    numbers = np.arange(ROWS, dtype=np.float32)
    found = jax.jit(squares)(np.stack([numbers, 0 * numbers, 0 * numbers], axis=1))
    return np.allclose(found, numbers**2)


def warn_if_cpu_is_unsound() -> None:
    """Warns the user if JAX runs on the CPU with an affected jaxlib."""
    if jax.default_backend() == "cpu" and not reductions_are_sound():
        version = importlib.metadata.version("jaxlib")
        warnings.warn(
            f"jaxlib {version} computes wrong results on this CPU without raising an error (jax issue 39103). "
            f"Set XLA_FLAGS={WAY_OUT} in the environment before Python starts, or install a different version of jaxlib.",
            stacklevel=3,
        )
