"""Hierarchical memory matching: the kernel-guided read (paper section 3.2) and the top-k guided read (section 3.3).

The functions in this module are pure functions of arrays. The names of axes are:
  b: batch.
  o: objects.
  t: memory frames.
  q, m: query cells, memory cells.
  n: the h * w cells of a frame at stride 16, flattened row by row.
  k: selected cells.
  p: the fine cells inside a coarse cell.
  c, v: key channels, value channels.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from hmmn_jax.ops.platform import by_platform
from hmmn_jax.ops.precision import at_least_float32, exact_einsum, fast_values_einsum, values_einsum
from hmmn_jax.ops.selection import top_k

# Maximum size, in bytes, of the candidates that the top-k read processes at once.
CHUNK_BYTES = 16 * 2**20  # about the size of a CPU's cache or a TPU's vector memory
GPU_CHUNK_BYTES = 256 * 2**20  # large enough that kernel launches take a small fraction of the time

_Sums = tuple[Array, Array, Array]  # state of a running softmax: maximum, sum of weights, weighted values
_Loop = tuple[_Sums, Array, Array | None]  # state of the loop: running softmax, centres, and the affinity if requested


class KernelRead(NamedTuple):
    """The result of `kernel_guided_read`.

    Attributes:
        readout: the values that were read, `[b,o,h,w,v]`.
        log_affinity: logarithm of the unnormalised affinity to the first and the previous frame, including the kernel. The
            shape is `[b,o,q,2*n]`, or `[b,o,q,n]` if there is only one slot. Values are -inf for a frame that does not exist.
            The top-k selection uses `log_affinity`.
        centres: the kernel centre of each memory cell, as the flat index of a query cell, int32 `[b,o,t,n]`; undefined in empty
            slots.
        affinity: normalised affinity to each memory cell, `[b,o,q,t,n]`; 0 in empty slots; None unless `return_affinity`
            is set.
    """

    readout: jax.Array
    log_affinity: jax.Array
    centres: jax.Array
    affinity: jax.Array | None


def scaled_affinity(key: Float[Array, "b o m c"], query: Float[Array, "b q c"]) -> Float[Array, "b o q m"]:
    """Returns the inner products of memory keys and query keys, divided by the square root of the number of channels."""
    return exact_einsum("bomc,bqc->boqm", key, query) / math.sqrt(key.shape[-1])


def windowed_argmax(affinity: Float[Array, "b o q m"], height: int, width: int, window: int) -> Int[Array, "b o m"]:
    """Finds the best query cell for each memory cell, in a window of `window` x `window` cells around the memory cell.

    The query and the memory are single frames of `height` x `width` cells. The window is cropped at the border. On a CPU, if
    the window is small, only the cells in the window are compared. On GPUs and TPUs, where gathers are slow, all cells are
    compared.
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
    """Returns the logarithm of a Gaussian kernel on the query grid, around the centre of each memory cell.

    `sigma` is the standard deviation of the kernel, in cells.
    """

    # The exponent is the sum of one term for each axis.
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
    turns: int | None = None,
    return_affinity: bool = False,
) -> KernelRead:
    """Reads the stride-16 memory (paper, section 3.2) with a softmax over all memory cells, each weighted by a kernel.

    The frames between the first and the previous frame are processed one after the other with a running softmax. Therefore, the
    affinity to the whole memory is stored only if `return_affinity` is set. With a traced `count`, only filled slots are
    processed. Reverse-mode gradients, as in training, require a `count` that is not traced.

    Args:
        keys: keys of the t slots. Slot 0 is the first frame; the last filled slot is the previous frame.
        values: values of the t slots.
        query_key: key of the frame to segment.
        centres: kernel centres of the memory cells, as returned by the read for the previous frame. The entry for the last
            filled slot is not used. None means a new video.
        count: number of filled slots. None means that all slots are filled.
        use_kernel: whether to use the kernel.
        window: side length, in cells, of the window that is searched for the centre of the kernel.
        sigma: standard deviation of the kernel for the previous frame, in cells.
        sigma_growth: growth of the standard deviation with age, as described in `HMMNConfig`.
        turns: number of loop iterations over the frames between the first and the previous frame, at least `count - 2`. Results
            of surplus iterations are ignored. None means exactly as many iterations as needed. On a GPU, a loop with a traced
            length waits for the host in each iteration, unlike a loop with a static length.
        return_affinity: whether to also return the normalised affinity.
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

    # Log-affinities of the query to the previous frame, `[b,o,q,n]`. The log-affinities to other frames are computed below.
    to_previous = scaled_affinity(at(keys, previous), query)
    best = windowed_argmax(jax.lax.stop_gradient(to_previous), height, width, window) if use_kernel else at(centres, previous)
    centres = jax.lax.dynamic_update_index_in_dim(centres, best, previous, 2)
    if use_kernel:
        to_previous += log_kernel(best, sigma, height, width, dtype)

    def follow(cells: Array) -> Array:  # returns the query cells that match `cells` of the previous frame
        return jnp.take_along_axis(best, cells, axis=2, mode="clip")

    def to_older(slot: int | Array, centres: Array) -> tuple[Array, Array]:
        """Returns the log-affinity to an older slot, and all centres. The centres of this slot are moved by one frame."""
        log_affinity = scaled_affinity(at(keys, slot), query)
        if use_kernel:
            moved = follow(at(centres, slot))
            centres = jax.lax.dynamic_update_index_in_dim(centres, moved, slot, 2)
            deviation = sigma * (sigma_growth * (previous - slot) + 1)
            # As in the published code, `follow` is applied a second time to find the centre of the kernel.
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
        readout = readout * shrink[..., None] + values_einsum("boqm,bomv->boqv", weights, values)
        return new_highest, total * shrink + weights.sum(3), readout

    highest = jax.lax.stop_gradient(log_affinity.max(3))
    weights = jnp.exp(log_affinity - highest[..., None])
    carry = highest, weights.sum(3), values_einsum("boqm,bomv->boqv", weights, values_ends)
    kept = None
    if return_affinity:
        kept = jnp.full((b, o, slots, n, n), -jnp.inf, dtype)
        kept = kept.at[:, :, 0].set(log_affinity[..., :n]).at[:, :, previous].set(log_affinity[..., -n:])

    if slots > 2:

        def middle(slot: int | Array, state: _Loop) -> _Loop:
            carry, centres, kept = state
            log_affinity, centres = to_older(slot, centres)
            if kept is not None:
                kept = kept.at[:, :, slot].set(log_affinity)
            return accumulate(carry, log_affinity, at(values, slot)), centres, kept

        def middle_or_nothing(slot: int | Array, state: _Loop) -> _Loop:
            needed = slot < previous
            found = middle(jnp.where(needed, slot, 0), state)  # an empty slot must not be read
            return jax.tree.map(functools.partial(jnp.where, needed), found, state)

        state = carry, centres, kept
        if turns is None:
            carry, centres, kept = jax.lax.fori_loop(1, previous, middle, state)
        else:
            carry, centres, kept = jax.lax.fori_loop(1, 1 + min(turns, slots - 2), middle_or_nothing, state)

    highest, total, readout = carry
    if kept is not None:
        kept = jnp.exp(kept - highest[:, :, None, :, None]) / total[:, :, None, :, None]
        kept = kept.transpose(0, 1, 3, 2, 4)
    readout = (readout / total[..., None]).reshape(b, o, height, width, -1)
    return KernelRead(readout, log_affinity, centres, kept)


def select_topk(log_affinity: Float[Array, "b o q m"], k: int) -> tuple[Int[Array, "b o q k"], Bool[Array, "b o q k"]]:
    """Returns the `k` best memory cells for each query cell, best first, and whether each selected cell exists.

    If there are fewer than `k` cells, all cells are selected. Cells in empty slots have log-affinity -inf and are marked as
    absent.
    """
    best, indices = top_k(jax.lax.stop_gradient(log_affinity), min(k, log_affinity.shape[-1]))
    return indices, best > -jnp.inf


def to_blocks(x: Float[Array, "*b h w c"], size: int) -> Float[Array, "*b n p c"]:
    """Splits a map into n blocks of p = size * size cells, row by row."""
    *lead, h, w, c = x.shape
    x = x.reshape(*lead, h // size, size, w // size, size, c).swapaxes(-4, -3)
    return x.reshape(*lead, h * w // size**2, size**2, c)


def from_blocks(blocks: Float[Array, "*b n p c"], height: int, width: int) -> Float[Array, "*b {height} {width} c"]:
    """Joins blocks, as returned by `to_blocks`, to a map of `height` x `width` cells."""
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
    """Reads the blocks of a fine memory that the stride-16 read selected (paper, section 3.3).

    The memory is split into blocks, one for each coarse cell. The p fine cells of a query cell have the same candidates: the
    k * p fine cells of the k selected blocks. The readout is a weighted sum of the candidates' values, with weights from a
    softmax. The forward and backward passes process queries in chunks, to limit memory use. Chunks are larger on GPUs. On GPUs
    and TPUs, products with values have the precision of `values_einsum`.
    """
    on_cpu, on_gpu, elsewhere = (
        functools.partial(read_in_chunks, chunk_bytes=chunk_bytes, read_values=read_values)
        for chunk_bytes, read_values in (
            (CHUNK_BYTES, exact_einsum),
            (GPU_CHUNK_BYTES, fast_values_einsum),
            (CHUNK_BYTES, fast_values_einsum),
        )
    )
    arrays = keys, values, query_key, indices, present
    return by_platform(*arrays, cpu=on_cpu, cuda=on_gpu, rocm=on_gpu, default=elsewhere)


def read_in_chunks(
    keys: Float[Array, "b o m p c"],
    values: Float[Array, "b o m p v"],
    query_key: Float[Array, "b q p c"],
    indices: Int[Array, "b o q k"],
    present: Bool[Array, "b o q k"],
    *,
    chunk_bytes: int,
    read_values: Callable[[str, Array, Array], Array],
) -> Float[Array, "b o q p v"]:
    """Reads the selected blocks of a fine memory as described in `topk_guided_read`, in chunks of queries.

    A chunk has at most `chunk_bytes` bytes of candidates, but at least one query cell. `read_values` computes the einsum of
    weights and values. The backward pass needs about twice as much memory as the forward pass.
    """
    b, o, q, k = indices.shape
    p, c = keys.shape[3:]
    v = values.shape[-1]
    dtype = at_least_float32(keys, query_key)
    candidate_bytes = b * o * q * k * p * (c * keys.dtype.itemsize + v * values.dtype.itemsize)
    chunks = _smallest_divisor(q, at_least=math.ceil(candidate_bytes / chunk_bytes))

    def gather(blocks: Array, cells: Array) -> Array:  # [b,o,m,p,c], [b,o,r,k] -> [b,o,r,k*p,c]
        # This indexing gathers whole blocks, whereas take_along_axis would need an index for each element.
        found = jax.vmap(jax.vmap(lambda x, i: x.at[i].get(mode="promise_in_bounds")))(blocks, cells)
        return found.reshape(b, o, cells.shape[2], k * p, -1)

    @jax.checkpoint
    def read(chunk: tuple[Array, Array, Array]) -> Array:
        query, cells, present = chunk
        affinity = exact_einsum("borjc,brpc->borpj", gather(keys, cells), query) / math.sqrt(c)
        affinity = jnp.where(jnp.repeat(present, p, axis=3)[:, :, :, None], affinity, -jnp.inf)
        weights = jax.nn.softmax(affinity.astype(dtype), axis=-1)
        return read_values("borpj,borjv->borpv", weights, gather(values, cells))

    def split(x: Array, axis: int) -> Array:  # splits the query axis into chunks and moves the axis of chunks to the front
        return jnp.moveaxis(x.reshape(*x.shape[:axis], chunks, q // chunks, *x.shape[axis + 1 :]), axis, 0)

    readout = jax.lax.map(read, (split(query_key, 1), split(indices, 2), split(present, 2)))
    return jnp.moveaxis(readout, 0, 2).reshape(b, o, q, p, v)


def _smallest_divisor(number: int, at_least: int) -> int:
    return next(d for d in range(min(at_least, number), number + 1) if number % d == 0)
