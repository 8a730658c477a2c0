"""Implements `jax.lax.top_k` without sorting whole rows on GPUs, and with fewer comparisons on CPUs."""

import functools
import operator

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

# The maximum k and the minimum length of rows in XLA's top-k kernel for GPUs. For a larger k or shorter rows, XLA sorts whole
# rows.
ROUND, SHORTEST = 16, 1024

# On a CPU: numbers in a group, and the minimum length of rows as a multiple of k. For affinities of a real video, groups
# reduced the time by a quarter if rows had 100 k numbers, made no difference with 60 k to 75 k, and took longer with less than
# 40 k.
GROUP, GROUPED = 6, 80


def top_k(x: Float[Array, "*b m"], k: int) -> tuple[Float[Array, "*b k"], Int[Array, "*b k"]]:
    """Selects the `k` largest numbers in each row, in descending order. Equal numbers are ordered by index.

    On TPUs, this function calls `jax.lax.top_k`. On CPUs, this function first selects groups of adjacent numbers if a row is
    long. On GPUs, for float32, `k` > 16 and rows of at least 1024 numbers, this function runs `jax.lax.top_k` in rounds of 16
    numbers and masks the selected numbers between rounds. The result is the same on all devices, including infinities and ties,
    with three exceptions. In long rows on CPUs, -0.0 is replaced by 0.0. On GPUs, the lowest finite number is treated as -inf.
    XLA's top-k kernel for GPUs compares numbers instead of their bits, so 0.0 and -0.0 are equal, and the results for rows with
    NaN are undefined.
    """
    whole, groups, rounds = (functools.partial(form, k=k) for form in (_whole, top_k_in_groups, top_k_in_rounds))
    on_cpu = groups if x.shape[-1] >= GROUPED * k else whole
    on_gpu = rounds if k > ROUND and x.shape[-1] >= SHORTEST and x.dtype == jnp.float32 else whole
    if on_cpu is on_gpu:
        return whole(x)
    return jax.lax.platform_dependent(x, cpu=on_cpu, cuda=on_gpu, rocm=on_gpu, default=whole)


def _whole(x: Array, k: int) -> tuple[Array, Array]:
    # Without barriers, XLA does not recognise a top-k whose results are sliced later, and sorts whole rows. Each result has its
    # own barrier, because XLA's partitioner crashes on a single barrier for both results.
    best, indices = (jax.lax.optimization_barrier(found) for found in jax.lax.top_k(x, k))
    return best, indices


def top_k_in_groups(x: Float[Array, "*b m"], k: int) -> tuple[Float[Array, "*b k"], Int[Array, "*b k"]]:
    """Implements `top_k` for long rows on a CPU, where `jax.lax.top_k` takes longer for longer rows.

    A row is divided into groups of 6 adjacent numbers. The `k` largest numbers of the row are in the `k` groups with the
    largest maxima. The maximum of each of these `k` groups is at least as large as all numbers in the other groups. If two
    maxima are equal, the group with the lower indices is selected first. After the last complete group, up to five numbers
    remain. These numbers are always candidates.
    """
    *lead, m = x.shape
    groups = m // GROUP
    maxima = _without_sign_of_zero(x[..., : groups * GROUP].reshape(*lead, groups, GROUP).max(-1))
    _, chosen = _whole(maxima, min(k, groups))
    chosen = jnp.sort(chosen, axis=-1, stable=False)  # candidates are ordered by index, so equal numbers are, too
    cells = (chosen[..., None] * GROUP + jnp.arange(GROUP, dtype=jnp.int32)).reshape(*lead, -1)
    rest = jnp.broadcast_to(jnp.arange(groups * GROUP, m, dtype=jnp.int32), (*lead, m - groups * GROUP))
    cells = jnp.concatenate([cells, rest], axis=-1)
    candidates = _without_sign_of_zero(jnp.take_along_axis(x, cells, axis=-1, mode="promise_in_bounds"))
    best, order = _whole(candidates, k)
    return best, jnp.take_along_axis(cells, order, axis=-1, mode="promise_in_bounds")


def _without_sign_of_zero(x: Array) -> Array:
    return jnp.where(x == 0, 0, x)  # `jax.lax.top_k` sorts -0.0 after 0.0, but for `max`, both are equal


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
