"""The largest numbers of each row: `jax.lax.top_k`, without its full sort on GPUs."""

import functools
import operator

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

# Limits of XLA's top-k kernel for GPUs: maximum number of values, and minimum length of rows. Otherwise, XLA sorts whole rows.
ROUND, SHORTEST = 16, 1024


def top_k(x: Float[Array, "*b m"], k: int) -> tuple[Float[Array, "*b k"], Int[Array, "*b k"]]:
    """Selects the `k` largest numbers of each row, in descending order. Equal numbers are ordered by index.

    On CPUs and TPUs this is `jax.lax.top_k`. For float32, GPUs run it in rounds of 16 numbers. Numbers that were selected are
    masked between rounds. The result is the same for all numbers, infinities and ties, with two exceptions. The smallest finite
    number is treated as -inf. On GPUs, XLA's kernel compares numbers instead of their bits, so 0.0 and -0.0 are equal, and rows
    with NaN are undefined.
    """
    whole, rounds = functools.partial(_whole, k=k), functools.partial(top_k_in_rounds, k=k)
    if k <= ROUND or x.shape[-1] < SHORTEST or x.dtype != jnp.float32:
        return whole(x)
    return jax.lax.platform_dependent(x, cuda=rounds, rocm=rounds, default=whole)


def _whole(x: Array, k: int) -> tuple[Array, Array]:
    # Without barriers, users of the first few numbers get their own slices of a sort, and XLA then sorts whole rows. Both
    # results have their own barrier, because XLA's partitioner crashes on a barrier of both.
    best, indices = (jax.lax.optimization_barrier(found) for found in jax.lax.top_k(x, k))
    return best, indices


def top_k_in_rounds(x: Float[Array, "*b m"], k: int) -> tuple[Float[Array, "*b k"], Int[Array, "*b k"]]:
    """The implementation of `top_k` for GPUs. It is exact for any order of `jax.lax.top_k`."""
    least = jnp.finfo(x.dtype).min
    rest = jnp.maximum(x, least).reshape(-1, x.shape[-1])  # XLA's kernel needs two axes; -inf marks selected numbers
    cells = jnp.arange(x.shape[-1])
    rounds: list[tuple[Array, Array]] = []
    for start in range(0, k, ROUND):
        if rounds:
            _, taken = rounds[-1]
            # One comparison for each selected number, fused into one pass; a scatter would need another pass.
            masks = (cells == taken[:, i : i + 1] for i in range(taken.shape[1]))
            rest = jnp.where(functools.reduce(operator.or_, masks), -jnp.inf, rest)
        rounds.append(_whole(rest, min(ROUND, k - start)))
    best, indices = (jnp.concatenate(parts, axis=1).reshape(*x.shape[:-1], k) for parts in zip(*rounds, strict=True))
    return jnp.where(best == least, -jnp.inf, best), indices
