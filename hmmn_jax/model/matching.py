"""Hierarchical memory matching: the kernel-guided read (paper section 3.2) and the top-k guided read (section 3.3).

Pure functions over arrays, batch first. Axes: b batch, o objects, t memory frames, q query cells, m memory cells,
n = h * w cells of a frame at stride 16 (flat, row by row), k selected cells, p the fine cells inside a coarse one,
c and v key and value channels.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from hmmn_jax.ops.precision import at_least_float32, exact_einsum

# Candidates of the top-k read held at once, in bytes: about what a CPU's cache or a TPU's vector memory holds.
CHUNK_BYTES = 16 * 2**20

_Sums = tuple[Array, Array, Array]  # of a softmax in progress: the maximum, the sum of weights, the weighted values


class KernelRead(NamedTuple):
    """What `kernel_guided_read` returns.

    readout: values read, `[b,o,h,w,v]`.
    log_affinity: logarithm of the affinity, kernel included, not normalised, to the first and the previous frame: `[b,o,q,2*n]`
      (`[b,o,q,n]` where there is one slot only); -inf where there is no such frame. The top-k read ranks by it.
    centres: where each memory cell was last seen, a flat query cell, int32 `[b,o,t,n]`; undefined in slots that are not filled.
    affinity: normalised affinity to each memory cell, `[b,o,q,t,n]`, 0 in slots that are not filled; None unless asked for.
    """

    readout: jax.Array
    log_affinity: jax.Array
    centres: jax.Array
    affinity: jax.Array | None


def scaled_affinity(key: Float[Array, "b o m c"], query: Float[Array, "b q c"]) -> Float[Array, "b o q m"]:
    """Inner products of keys, divided by the root of their length."""
    return exact_einsum("bomc,bqc->boqm", key, query) / math.sqrt(key.shape[-1])


def windowed_argmax(affinity: Float[Array, "b o q m"], height: int, width: int, window: int) -> Int[Array, "b o m"]:
    """For each memory cell the best query cell inside the `window` x `window` cells around its own position.

    Query and memory are both one frame of `height` x `width` cells; the window is cut off at the border. A CPU looks at the
    cells of a small window only; accelerators, which are slow to gather them, at all of them.
    """
    masked, gathered = (
        functools.partial(form, height=height, width=width, window=window) for form in (_argmax_of_masked, _argmax_of_gathered)
    )
    if window**2 > height * width:
        return masked(affinity)
    return jax.lax.platform_dependent(affinity, cpu=gathered, default=masked)


def _argmax_of_masked(affinity: Float[Array, "b o q m"], height: int, width: int, window: int) -> Int[Array, "b o m"]:
    y, x = np.divmod(np.arange(height * width), width)
    near = (np.abs(y[:, None] - y) <= window // 2) & (np.abs(x[:, None] - x) <= window // 2)
    return jnp.argmax(jnp.where(near, affinity, -jnp.inf), axis=2).astype(jnp.int32)


def _argmax_of_gathered(affinity: Float[Array, "b o q m"], height: int, width: int, window: int) -> Int[Array, "b o m"]:
    cells = np.arange(height * width)
    y, x = np.divmod(cells, width)
    reach = np.arange(-(window // 2), window // 2 + 1)
    row, column = y + np.repeat(reach, window)[:, None], x + np.tile(reach, window)[:, None]  # [window * window, m]
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    near = np.where(inside, row * width + column, 0)
    best = jnp.argmax(jnp.where(inside, affinity[:, :, near, cells], -jnp.inf), axis=2)
    return jnp.asarray(near, jnp.int32)[best, cells]


def log_kernel(
    centres: Int[Array, "b o m"], sigma: float | Float[Array, ""], height: int, width: int, dtype: jnp.dtype
) -> Float[Array, "b o q m"]:
    """Logarithm of the Gaussian of deviation `sigma` cells around each memory cell's centre, on the query grid."""

    # The exponent is a sum of one term in y and one in x.
    def along(size: int, centre: Array) -> Array:  # [b,o,m] -> [b,o,size,m]
        distance = jnp.arange(size)[:, None] - centre[:, :, None]
        return distance.astype(dtype) ** 2 / (-2 * jnp.asarray(sigma, dtype) ** 2)

    y, x = jnp.divmod(centres, width)
    exponent = along(height, y)[:, :, :, None] + along(width, x)[:, :, None]
    return exponent.reshape(*centres.shape[:2], height * width, -1)


def kernel_guided_read(
    keys: Float[Array, "b o t h w c"],
    values: Float[Array, "b o t h w v"],
    query_key: Float[Array, "b h w c"],
    centres: Int[Array, "b o t n"] | None = None,
    count: int | Int[Array, ""] | None = None,
    *,
    use_kernel: bool = True,
    window: int = 7,
    sigma: float = 3.0,
    sigma_growth: float = 0.5,
    return_affinity: bool = False,
) -> KernelRead:
    """Reads the stride-16 memory: softmax over all memory cells, each weighted by a kernel around where it is believed to be.

    The first `count` of the t slots are filled (all, if None); the last of those is the previous frame, slot 0 the
    first frame. `centres` holds the positions of the older slots in the previous query; the previous frame's own entry
    is not read. The frames between the first and the previous are gone through one by one with a running maximum, so
    that nothing of the size of the whole memory is ever held, and a traced `count` costs only what is there. Reverse-mode
    gradients need a `count` that is not traced, as in training.
    """
    b, o, slots, height, width, _ = keys.shape
    n = height * width
    keys, values = keys.reshape(b, o, slots, n, -1), values.reshape(b, o, slots, n, -1)
    query = query_key.reshape(b, n, -1)
    dtype = at_least_float32(keys, query)
    count = slots if count is None else count
    previous = count - 1
    if centres is None:
        centres = jnp.zeros((b, o, slots, n), jnp.int32)

    def at(bank: Array, slot: int | Array) -> Array:  # [b,o,t,...] -> [b,o,...]
        return jax.lax.dynamic_index_in_dim(bank, slot, 2, keepdims=False)

    # Log-affinities of the query, `[b,o,q,n]`: to the previous frame here, to the first and to older ones below.
    to_previous = scaled_affinity(at(keys, previous), query)
    best = windowed_argmax(jax.lax.stop_gradient(to_previous), height, width, window) if use_kernel else at(centres, previous)
    centres = jax.lax.dynamic_update_index_in_dim(centres, best, previous, 2)
    if use_kernel:
        to_previous += log_kernel(best, sigma, height, width, dtype)

    def follow(cells: Array) -> Array:  # where the cells of the previous frame's grid are believed to be now
        return jnp.take_along_axis(best, cells, axis=2, mode="clip")

    def to_older(slot: int | Array, centres: Array) -> tuple[Array, Array]:
        """Log-affinity to a slot before the previous one; all centres, its own moved on by one frame."""
        log_affinity = scaled_affinity(at(keys, slot), query)
        if use_kernel:
            moved = follow(at(centres, slot))
            centres = jax.lax.dynamic_update_index_in_dim(centres, moved, slot, 2)
            deviation = sigma * (sigma_growth * (previous - slot) + 1)
            # The published code looks the kernel up once more at the cell already moved to: one hop further than tracking.
            log_affinity += log_kernel(follow(moved), deviation, height, width, dtype)
        return log_affinity, centres

    if slots == 1:
        log_affinity = to_previous
        values_ends = at(values, previous)
    else:
        to_first, moved = to_older(0, centres)
        to_first = jnp.where(previous > 0, to_first, -jnp.inf)
        centres = jnp.where(previous > 0, moved, centres)
        log_affinity = jnp.concatenate([to_first, to_previous], axis=3)
        values_ends = jnp.concatenate([at(values, 0), at(values, previous)], axis=2)

    def accumulate(carry: _Sums, log_affinity: Array, values: Array) -> _Sums:
        highest, total, readout = carry
        new_highest = jnp.maximum(highest, log_affinity.max(3))
        weights = jnp.exp(log_affinity - new_highest[..., None])
        shrink = jnp.exp(highest - new_highest)
        readout = readout * shrink[..., None] + exact_einsum("boqm,bomv->boqv", weights, values)
        return new_highest, total * shrink + weights.sum(3), readout

    highest = jax.lax.stop_gradient(log_affinity.max(3))
    weights = jnp.exp(log_affinity - highest[..., None])
    carry = highest, weights.sum(3), exact_einsum("boqm,bomv->boqv", weights, values_ends)
    kept = None
    if return_affinity:
        kept = jnp.full((b, o, slots, n, n), -jnp.inf, dtype)
        kept = kept.at[:, :, 0].set(log_affinity[..., :n]).at[:, :, previous].set(log_affinity[..., -n:])

    if slots > 2:

        def middle(slot: int | Array, state: tuple[_Sums, Array, Array | None]) -> tuple[_Sums, Array, Array | None]:
            carry, centres, kept = state
            log_affinity, centres = to_older(slot, centres)
            if kept is not None:
                kept = kept.at[:, :, slot].set(log_affinity)
            return accumulate(carry, log_affinity, at(values, slot)), centres, kept

        carry, centres, kept = jax.lax.fori_loop(1, previous, middle, (carry, centres, kept))

    highest, total, readout = carry
    if kept is not None:
        kept = jnp.exp(kept - highest[:, :, None, :, None]) / total[:, :, None, :, None]
        kept = kept.transpose(0, 1, 3, 2, 4)
    readout = (readout / total[..., None]).reshape(b, o, height, width, -1)
    return KernelRead(readout, log_affinity, centres, kept)


def select_topk(log_affinity: Float[Array, "b o q m"], k: int) -> tuple[Int[Array, "b o q k"], Bool[Array, "b o q k"]]:
    """The `k` best memory cells of each query cell, best first, and which of them are there at all.

    `k` is capped by the number of cells; cells of slots that are not filled have -inf and are marked as absent.
    """
    best, indices = jax.lax.top_k(jax.lax.stop_gradient(log_affinity), min(k, log_affinity.shape[-1]))
    return indices, best > -jnp.inf


def to_blocks(x: Float[Array, "*b h w c"], size: int) -> Float[Array, "*b n p c"]:
    """Cuts a map into blocks of `size` x `size` cells, row by row: n blocks of p = size * size cells."""
    *lead, h, w, c = x.shape
    x = x.reshape(*lead, h // size, size, w // size, size, c).swapaxes(-4, -3)
    return x.reshape(*lead, h * w // size**2, size**2, c)


def from_blocks(blocks: Float[Array, "*b n p c"], height: int, width: int) -> Float[Array, "*b {height} {width} c"]:
    """The inverse of `to_blocks`, for a map of `height` x `width` cells."""
    *lead, _, p, c = blocks.shape
    size = math.isqrt(p)
    x = blocks.reshape(*lead, height // size, width // size, size, size, c).swapaxes(-4, -3)
    return x.reshape(*lead, height, width, c)


def topk_guided_read(
    keys: Float[Array, "b o m p c"],
    values: Float[Array, "b o m p v"],
    query_key: Float[Array, "b q p c"],
    indices: Int[Array, "b o q k"],
    present: Bool[Array, "b o q k"],
) -> Float[Array, "b o q p v"]:
    """Reads a fine memory, cut into the blocks under the coarse cells, only where the stride-16 read points.

    The p fine cells under a query cell share its candidates: the k * p fine cells of the k selected blocks. Softmax over
    those, weighted sum of their values. Goes over the queries in chunks, so that few candidates are held at once,
    forward and backward.
    """
    b, o, q, k = indices.shape
    p, c = keys.shape[3:]
    v = values.shape[-1]
    dtype = at_least_float32(keys, query_key)
    candidate_bytes = b * o * q * k * p * (c * keys.dtype.itemsize + v * values.dtype.itemsize)
    chunks = _smallest_divisor(q, at_least=math.ceil(candidate_bytes / CHUNK_BYTES))

    def gather(blocks: Array, cells: Array) -> Array:  # [b,o,m,p,c], [b,o,r,k] -> [b,o,r,k*p,c]
        # Whole blocks, without take_along_axis, which would spell out an index for each of their numbers.
        found = jax.vmap(jax.vmap(lambda x, i: x.at[i].get(mode="promise_in_bounds")))(blocks, cells)
        return found.reshape(b, o, cells.shape[2], k * p, -1)

    @jax.checkpoint
    def read(chunk: tuple[Array, Array, Array]) -> Array:
        query, cells, present = chunk
        affinity = exact_einsum("borjc,brpc->borpj", gather(keys, cells), query) / math.sqrt(c)
        affinity = jnp.where(jnp.repeat(present, p, axis=3)[:, :, :, None], affinity, -jnp.inf)
        weights = jax.nn.softmax(affinity.astype(dtype), axis=-1)
        return exact_einsum("borpj,borjv->borpv", weights, gather(values, cells))

    def split(x: Array, axis: int) -> Array:  # the query axis, cut into chunks that lead
        return jnp.moveaxis(x.reshape(*x.shape[:axis], chunks, q // chunks, *x.shape[axis + 1 :]), axis, 0)

    readout = jax.lax.map(read, (split(query_key, 1), split(indices, 2), split(present, 2)))
    return jnp.moveaxis(readout, 0, 2).reshape(b, o, q, p, v)


def _smallest_divisor(number: int, at_least: int) -> int:
    return next(d for d in range(min(at_least, number), number + 1) if number % d == 0)
