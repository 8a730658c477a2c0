"""Generates random memories and queries, and reads the memories frame by frame.

The memories are read with `kernel_guided_read` and with the reference implementation, `oracles.CoarseMemory`.
"""

import jax
import numpy as np

from hmmn_jax.model.matching import kernel_guided_read
from tests import oracles

GRID, TINY = (12, 13), (2, 5)  # sizes in cells: GRID is at least 12x12, and TINY has fewer than 32 cells
KEY, VALUE = 6, 4

read = jax.jit(kernel_guided_read, static_argnames=("use_kernel", "window", "sigma", "sigma_growth", "return_affinity"))


def draw(seed, *shape, dtype=np.float64):
    return np.random.default_rng(seed).normal(0, 1.2, shape).astype(dtype)


def flat(x):
    """Reshapes a feature map `[h,w,c]` to `[n,c]`, with one row per cell, in float64."""
    return x.reshape(-1, x.shape[-1]).astype(np.float64)


def frames(length, objects, grid, dtype=np.float64, seed=0):
    """Returns random memory keys `[t,o,h,w,k]`, memory values `[t,o,h,w,v]` and query keys `[t+1,h,w,k]`."""
    return (
        draw(seed, length, objects, *grid, KEY, dtype=dtype),
        draw(seed + 1, length, objects, *grid, VALUE, dtype=dtype),
        draw(seed + 2, length + 1, *grid, KEY, dtype=dtype),
    )


def walk(keys, values, queries, kept, capacity, filler=np.nan, **options):
    """Writes each frame t to a bank of fixed capacity, and yields the result of reading the bank for frame t + 1.

    If `kept(t)` is false, frame t + 1 overwrites frame t in the bank.
    """
    length, objects, *grid, _ = keys.shape
    bank_keys = np.full((1, objects, capacity, *grid, KEY), filler, keys.dtype)
    bank_values = np.full((1, objects, capacity, *grid, VALUE), filler, keys.dtype)
    centres = np.full((1, objects, capacity, grid[0] * grid[1]), -1, np.int32)
    slot = 0
    for t in range(length):
        bank_keys[0, :, slot], bank_values[0, :, slot] = keys[t], values[t]
        out = read(bank_keys, bank_values, queries[t + 1][None], centres, np.int32(slot + 1), **options)
        yield out
        centres = np.array(out.centres)
        slot += kept(t)


def expected(keys, values, queries, kept, at, grid, **options):
    """Yields `(t, result)` for each t in `at`. The results are those of `oracles.CoarseMemory` for one object."""
    memory = oracles.CoarseMemory(*grid, **options)
    for t in range(len(keys)):
        result = memory.step(flat(keys[t]), flat(values[t]), flat(queries[t + 1]), kept(t), t in at)
        if t in at:
            yield t, result


def every(n):
    return lambda t: t % n == 0
