"""Random memories and queries, read frame by frame by the network and by the oracle."""

import jax
import numpy as np

from hmmn_jax.model.matching import kernel_guided_read
from tests import oracles

GRID, TINY = (12, 13), (2, 5)  # GRID has at least 12x12 cells, TINY fewer than 32
KEY, VALUE = 6, 4

read = jax.jit(kernel_guided_read, static_argnames=("use_kernel", "window", "sigma", "sigma_growth", "return_affinity"))


def draw(seed, *shape, dtype=np.float64):
    return np.random.default_rng(seed).normal(0, 1.2, shape).astype(dtype)


def flat(x):
    """Converts a map `[h,w,c]` to cells `[n,c]`, in float64."""
    return x.reshape(-1, x.shape[-1]).astype(np.float64)


def frames(length, objects, grid, dtype=np.float64, seed=0):
    """Keys `[t,o,h,w,c]` and values of each frame as memory, and keys as query `[t,h,w,c]`."""
    return (
        draw(seed, length, objects, *grid, KEY, dtype=dtype),
        draw(seed + 1, length, objects, *grid, VALUE, dtype=dtype),
        draw(seed + 2, length + 1, *grid, KEY, dtype=dtype),
    )


def walk(keys, values, queries, kept, capacity, filler=np.nan, **options):
    """Reads frame t + 1 with frame t as the previous one, for all t, in a bank of fixed capacity; yields each read."""
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
    """The oracle's results of one object for the reads numbered in `at`."""
    memory = oracles.CoarseMemory(*grid, **options)
    for t in range(len(keys)):
        result = memory.step(flat(keys[t]), flat(values[t]), flat(queries[t + 1]), kept(t), t in at)
        if t in at:
            yield t, result


def every(n):
    return lambda t: t % n == 0
