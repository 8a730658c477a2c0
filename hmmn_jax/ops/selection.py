"""Implements `jax.lax.top_k` without sorting whole rows on GPUs."""

import functools
import operator

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

# The maximum k and the minimum length of rows in XLA's top-k kernel for GPUs. For a larger k or shorter rows, XLA sorts whole
# rows.
ROUND, SHORTEST = 16, 1024


def top_k(x: Float[Array, "*b m"], k: int) -> tuple[Float[Array, "*b k"], Int[Array, "*b k"]]:
    """Selects the `k` largest numbers in each row, in descending order. Equal numbers are ordered by index.

    On CPUs and TPUs, this function calls `jax.lax.top_k`. On GPUs, for float32, `k` > 16 and rows of at least 1024 numbers,
    this function runs `jax.lax.top_k` in rounds of 16 numbers and masks the selected numbers between rounds. With two
    exceptions, the result on GPUs is the same as on CPUs, including infinities and ties. On GPUs, the lowest finite number is
    treated as -inf. XLA's top-k kernel for GPUs compares numbers instead of their bits, so 0.0 and -0.0 are equal, and the
    results for rows with NaN are undefined.
    """
    whole, rounds = functools.partial(_whole, k=k), functools.partial(top_k_in_rounds, k=k)
    if k <= ROUND or x.shape[-1] < SHORTEST or x.dtype != jnp.float32:
        return whole(x)
    return jax.lax.platform_dependent(x, cuda=rounds, rocm=rounds, default=whole)


def _whole(x: Array, k: int) -> tuple[Array, Array]:
    # Without barriers, XLA does not recognise a top-k whose results are sliced later, and sorts whole rows. Each result has its
    # own barrier, because XLA's partitioner crashes on a single barrier for both results.
    best, indices = (jax.lax.optimization_barrier(found) for found in jax.lax.top_k(x, k))
    return best, indices


def top_k_in_rounds(x: Float[Array, "*b m"], k: int) -> tuple[Float[Array, "*b k"], Int[Array, "*b k"]]:
    """Implements `top_k` for GPUs. The result is exact for any order in which `jax.lax.top_k` returns equal numbers."""
    least = jnp.finfo(x.dtype).min
    rest = jnp.maximum(x, least).reshape(-1, x.shape[-1])  # XLA's kernel needs a 2D array; -inf marks selected numbers
    cells = jnp.arange(x.shape[-1])
    rounds: list[tuple[Array, Array]] = []
    for start in range(0, k, ROUND):
        if rounds:
            _, taken = rounds[-1]
            # Mask the selected numbers by comparing indices. XLA fuses the comparisons into one pass; a scatter would need
            # another pass.
            masks = (cells == taken[:, i : i + 1] for i in range(taken.shape[1]))
            rest = jnp.where(functools.reduce(operator.or_, masks), -jnp.inf, rest)
        rounds.append(_whole(rest, min(ROUND, k - start)))
    best, indices = (jnp.concatenate(parts, axis=1).reshape(*x.shape[:-1], k) for parts in zip(*rounds, strict=True))
    return jnp.where(best == least, -jnp.inf, best), indices
