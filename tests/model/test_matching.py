"""Both reads of the memory, against loops that follow the text of the paper."""

import functools

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from hmmn_jax.model import matching
from hmmn_jax.model.matching import (
    from_blocks,
    kernel_guided_read,
    log_kernel,
    select_topk,
    to_blocks,
    topk_guided_read,
    windowed_argmax,
)
from tests import oracles

GRID, TINY = (12, 13), (2, 5)  # at least 12x12; fewer than 32 cells
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


# Parts of the reads


@pytest.mark.parametrize("grid", [GRID, TINY, (1, 4)])
@pytest.mark.parametrize("window", [1, 3, 7])
def test_argmax_looks_inside_the_window(grid, window):
    n = grid[0] * grid[1]
    affinity = draw(3, 2, 3, n, n, dtype=np.float32)  # [b,o,q,m]
    affinity[..., 1:3] = 0.5  # several are equal: the first one is used
    for form in (windowed_argmax, matching._argmax_of_masked):  # accelerators use the latter
        found = jax.jit(form, static_argnums=(1, 2, 3))(affinity, *grid, window)
        for b, o in np.ndindex(2, 3):
            np.testing.assert_array_equal(found[b, o], oracles.best_in_window(affinity[b, o].T, *grid, window))
        if window == 1:
            np.testing.assert_array_equal(found[0, 0], np.arange(n))


def test_kernel_is_a_gaussian_around_the_centre(x64):
    # A grid of 2 x 3 cells with a centre in the second row, first column; squared distances computed by hand.
    squared = [[1, 2, 5], [0, 1, 4]]
    found = log_kernel(jnp.array([[[3]]]), 1.5, 2, 3, jnp.dtype("float64"))
    np.testing.assert_allclose(found[0, 0, :, 0].reshape(2, 3), -np.array(squared) / (2 * 1.5**2), rtol=1e-14)


def test_maps_are_cut_into_blocks_row_by_row():
    x = np.arange(24).reshape(4, 6, 1).astype(np.float32)
    blocks = to_blocks(jnp.asarray(x), 2)
    assert blocks[..., 0].tolist() == [
        [0, 1, 6, 7], [2, 3, 8, 9], [4, 5, 10, 11],
        [12, 13, 18, 19], [14, 15, 20, 21], [16, 17, 22, 23],
    ]  # fmt: skip
    np.testing.assert_array_equal(from_blocks(blocks, 4, 6), x)
    many = jnp.asarray(draw(0, 2, 3, 8, 12, 5))
    np.testing.assert_array_equal(from_blocks(to_blocks(many, 4), 8, 12), many)


# The kernel-guided read


@pytest.mark.parametrize(
    ("grid", "objects", "length", "kept", "at"),
    [
        (GRID, 1, 40, every(1), (0, 1, 2, 39)),  # T = 1, 2, 3, 40
        (GRID, 3, 12, every(5), (0, 4, 5, 6, 11)),  # previous frames that are not kept: T = 1, 2, 2, 3, 4
        (GRID, 7, 3, every(1), (1, 2)),
        (TINY, 2, 6, every(2), range(6)),
    ],
)
def test_kernel_read_equals_loops_through_a_video(x64, grid, objects, length, kept, at):
    keys, values, queries = frames(length, objects, grid)
    reads = list(walk(keys, values, queries, kept, length + 8, return_affinity=True))
    for o in range(objects):
        for t, (readout, p, log, centres) in expected(keys[:, o], values[:, o], queries, kept, at, grid):
            found, count, n = reads[t], p.shape[1], p.shape[2]
            np.testing.assert_allclose(flat(found.readout[0, o]), readout, rtol=0, atol=1e-12)
            np.testing.assert_array_equal(found.centres[0, o, :count], centres)
            np.testing.assert_allclose(found.affinity[0, o, :, :count], p, rtol=0, atol=1e-13)
            assert not found.affinity[0, o, :, count:].any()
            np.testing.assert_allclose(found.affinity[0, o].sum((1, 2)), 1, rtol=0, atol=1e-12)
            first, previous = found.log_affinity[0, o, :, :n], found.log_affinity[0, o, :, n:]
            np.testing.assert_allclose(previous, log[:, -1], rtol=0, atol=1e-12)
            np.testing.assert_allclose(first, log[:, 0] if count > 1 else -np.inf, rtol=0, atol=1e-12)


@pytest.mark.parametrize("options", [{"use_kernel": False}, {"window": 3, "sigma": 1.5, "growth": 0.25}])
def test_kernel_read_switches(x64, options):
    keys, values, queries = frames(5, 2, GRID)
    names = {"growth": "sigma_growth"}
    reads = list(walk(keys, values, queries, every(2), 4, **{names.get(k, k): v for k, v in options.items()}))
    for o in range(2):
        for t, (readout, *_) in expected(keys[:, o], values[:, o], queries, every(2), (0, 1, 4), GRID, **options):
            np.testing.assert_allclose(flat(reads[t].readout[0, o]), readout, rtol=0, atol=1e-12)


def test_kernel_of_an_older_frame_is_one_hop_ahead_of_its_centre(x64):
    keys, values, queries = frames(3, 1, GRID)
    found = list(walk(keys, values, queries, every(1), 4))[-1].readout[0, 0]
    arguments = keys[:, 0], values[:, 0], queries, every(1), (2,), GRID
    ((_, with_hop),) = expected(*arguments)
    ((_, without),) = expected(*arguments, extra_hop=False)
    np.testing.assert_array_equal(with_hop[3], without[3])  # the centres are the same
    np.testing.assert_allclose(flat(found), with_hop[0], rtol=0, atol=1e-12)
    assert np.abs(flat(found) - without[0]).max() > 0.05


@pytest.mark.parametrize("capacity", [2, 5])
def test_what_lies_in_slots_that_are_not_filled_is_never_read(capacity):
    keys, values, queries = frames(3, 2, GRID, np.float32)
    kept = (lambda t: t == 0) if capacity == 2 else every(1)  # T = 1, 2, 2 and T = 1, 2, 3
    dirty, clean = (walk(keys, values, queries, kept, capacity, filler, return_affinity=True) for filler in (np.nan, 0))
    for t, (found, wanted) in enumerate(zip(dirty, clean, strict=True)):
        for name in ("readout", "log_affinity", "affinity"):
            np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
            assert not np.isnan(getattr(found, name)).any()
        count = min(t + 1, capacity)
        np.testing.assert_array_equal(found.centres[:, :, :count], wanted.centres[:, :, :count])


@pytest.mark.parametrize("count", [None, 3])
def test_a_full_bank_reads_as_one_with_room(x64, count):
    keys, values, queries = frames(3, 2, GRID)
    *_, before, roomy = walk(keys, values, queries, every(1), 5)
    keys, values = (np.moveaxis(x, 0, 1)[None] for x in (keys, values))
    full = jax.jit(functools.partial(kernel_guided_read, count=count))(keys, values, queries[3][None], before.centres[:, :, :3])
    np.testing.assert_allclose(full.readout, roomy.readout, rtol=0, atol=1e-13)
    np.testing.assert_array_equal(full.centres, roomy.centres[:, :, :3])


@pytest.mark.parametrize(("dtype", "bound"), [(np.float32, 2e-6), (ml_dtypes.bfloat16, 2e-6)])
def test_kernel_read_loses_little_to_rounding(dtype, bound):
    """In float32, also for bfloat16 inputs, which are computed in float32."""
    keys, values, queries = frames(5, 2, GRID, dtype)
    reads = list(walk(keys, values, queries, every(1), 8))
    assert reads[0].readout.dtype == reads[0].log_affinity.dtype == jnp.float32
    for o in range(2):
        for t, (readout, _, _, centres) in expected(keys[:, o], values[:, o], queries, every(1), (0, 4), GRID):
            assert np.abs(flat(np.asarray(reads[t].readout[0, o])) - readout).max() < bound
            np.testing.assert_array_equal(reads[t].centres[0, o, : t + 1], centres)


def test_kernel_read_survives_rounding_of_its_inputs_to_bfloat16():
    dtypes = np.float32, ml_dtypes.bfloat16
    exact, rounded = (list(walk(*frames(2, 2, GRID, dtype), every(1), 2, use_kernel=False))[-1] for dtype in dtypes)
    assert 1e-4 < np.abs(exact.readout - rounded.readout).max() < 2e-2


def dense(keys, values, query, centres, use_kernel):
    """The read of at most two frames in one piece; the centres of the kernels are given."""
    b, o, t, h, w, c = keys.shape
    affinity = jnp.einsum("botmc,bqc->boqtm", keys.reshape(b, o, t, h * w, c), query.reshape(b, -1, c)) / c**0.5
    if use_kernel:
        y, x = jnp.divmod(jnp.arange(h * w), w)
        cy, cx = jnp.divmod(centres, w)
        squared = (y[:, None, None] - cy[:, :, None]) ** 2 + (x[:, None, None] - cx[:, :, None]) ** 2
        sigma = 3 * (0.5 * (t - 1 - jnp.arange(t)) + 1)
        affinity -= squared / (2 * sigma[:, None] ** 2)
    p = jax.nn.softmax(affinity.reshape(b, o, h * w, -1), axis=-1)
    return jnp.einsum("boqm,bomv->boqv", p, values.reshape(b, o, t * h * w, -1)).reshape(b, o, h, w, -1)


@pytest.mark.parametrize("slots", [1, 2])
@pytest.mark.parametrize("use_kernel", [True, False])
def test_kernel_read_has_the_gradient_of_the_dense_form(x64, slots, use_kernel):
    keys, values, query = draw(0, 2, 2, slots, *GRID, KEY), draw(1, 2, 2, slots, *GRID, VALUE), draw(2, 2, *GRID, KEY)
    weights = draw(3, 2, 2, *GRID, VALUE)
    centres = np.random.default_rng(4).integers(0, GRID[0] * GRID[1], (2, 2, slots, GRID[0] * GRID[1]), np.int32)

    def ours(keys, values, query):
        out = read(keys, values, query, centres, use_kernel=use_kernel)
        return jnp.vdot(out.readout, weights), out.centres

    (value, moved), grads = jax.jit(jax.value_and_grad(ours, (0, 1, 2), has_aux=True))(keys, values, query)
    best = moved[:, :, -1:]
    hops = jnp.concatenate([jnp.take_along_axis(best, moved[:, :, :-1], -1), best], 2)

    def theirs(*arrays):
        return jnp.vdot(dense(*arrays, hops, use_kernel), weights)

    expected_value, expected_grads = jax.jit(jax.value_and_grad(theirs, (0, 1, 2)))(keys, values, query)
    np.testing.assert_allclose(value, expected_value, rtol=1e-12)
    for found, wanted in zip(grads, expected_grads, strict=True):
        assert np.abs(wanted).max() > 1e-3
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12)


# The top-k guided read


@pytest.mark.parametrize(
    ("grid", "length", "k", "room"),
    [
        (GRID, 1, 32, 0),
        (GRID, 1, 32, 3),
        (GRID, 4, 8, 0),
        (TINY, 1, 32, 0),
        (TINY, 3, 32, 2),
        (TINY, 2, 4, 0),
    ],
)
def test_selects_the_best_cells_of_the_first_and_the_previous_frame(x64, grid, length, k, room):
    n, slots = grid[0] * grid[1], length + room
    keys, values, queries = frames(length, 2, grid, seed=7)
    # The kernel is so narrow that weights underflow. The order must not depend on them.
    out = list(walk(keys, values, queries, every(1), slots, sigma=0.2, window=3))[-1]
    indices, present = map(np.asarray, select_topk(out.log_affinity, k))
    assert indices.shape == present.shape == (1, 2, n, min(k, n if slots == 1 else 2 * n))
    for o in range(2):
        ((_, (_, _, log, _)),) = expected(keys[:, o], values[:, o], queries, every(1), (length - 1,), grid, sigma=0.2, window=3)
        for q, cells in enumerate(oracles.select(log, k)):
            there = present[0, o, q]
            assert there.sum() == len(cells) and there[: len(cells)].all()
            # The cells of the previous frame come after those of the first frame, except in a bank with one slot
            offset = {length - 1: 0 if slots == 1 else n} | ({0: 0} if length > 1 else {})
            assert indices[0, o, q][there].tolist() == [offset[t] + m for t, m in cells]


@functools.cache
def fine_case(size, grid=GRID, dtype=np.float64, objects=2):
    """Maps of two frames, a query, and k selected coarse cells; for some queries, the last one does not exist."""
    n, k = grid[0] * grid[1], {2: 32, 4: 8}[size]
    k = min(k, 2 * n)
    shape = grid[0] * size, grid[1] * size
    rng = np.random.default_rng(size)
    indices = np.stack([[rng.permutation(2 * n)[:k] for _ in range(n)] for _ in range(objects)])[None].astype(np.int32)
    present = np.ones(indices.shape, bool)
    present[:, :, ::3, k // 2 :] = False
    keys, values = (
        draw(size, 1, objects, 2, *shape, KEY, dtype=dtype),
        draw(size + 1, 1, objects, 2, *shape, VALUE, dtype=dtype),
    )
    return keys, values, draw(size + 2, 1, *shape, KEY, dtype=dtype), indices, present


@functools.cache
def fine_expected(size, grid=GRID, dtype=np.float64):
    keys, values, query, indices, present = fine_case(size, grid, dtype)
    wide = [x.astype(np.float64) for x in (keys, values, query)]
    out = []
    for o in range(keys.shape[1]):
        chosen = [index[there] for index, there in zip(indices[0, o], present[0, o], strict=True)]
        cells = [[(i // (grid[0] * grid[1]), *divmod(i % (grid[0] * grid[1]), grid[1])) for i in one] for one in chosen]
        out.append(oracles.fine_read(wide[0][0, o], wide[1][0, o], wide[2][0], cells, size))
    return np.stack(out)[None]


@functools.partial(jax.jit, static_argnums=(0, 6))
def fine_read(size, keys, values, query, indices, present, chunk_bytes=matching.CHUNK_BYTES):
    """The read of maps; `chunk_bytes` only distinguishes compiled programs for a patched CHUNK_BYTES."""
    keys, values = (to_blocks(x, size).reshape(1, x.shape[1], -1, size**2, x.shape[-1]) for x in (keys, values))
    return from_blocks(topk_guided_read(keys, values, to_blocks(query, size), indices, present), *query.shape[1:3])


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("chunk_bytes", [1, 300_000, 2**40])  # one query at a time, some, all
def test_topk_read_equals_loops(x64, monkeypatch, size, chunk_bytes):
    monkeypatch.setattr(matching, "CHUNK_BYTES", chunk_bytes)
    found = fine_read(size, *fine_case(size), chunk_bytes)
    np.testing.assert_allclose(found, fine_expected(size), rtol=0, atol=1e-12)


def test_topk_read_of_a_tiny_grid(x64):
    found = fine_read(2, *fine_case(2, TINY))
    np.testing.assert_allclose(found, fine_expected(2, TINY), rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_topk_read_loses_little_to_rounding(size, dtype):
    found = fine_read(size, *fine_case(size, GRID, dtype))
    assert found.dtype == jnp.float32
    assert np.abs(found - fine_expected(size, GRID, dtype)).max() < 2e-6


def test_topk_read_never_touches_what_is_absent():
    """The content of a missing frame has no effect, for any indices of missing cells."""
    keys, values, query, _, _ = fine_case(2, GRID, np.float32)
    n = GRID[0] * GRID[1]
    affinity = np.concatenate([np.full((1, 2, n, n), -np.inf), draw(0, 1, 2, n, n)], axis=3).astype(np.float32)
    affinity[..., n + 5 :] = -np.inf  # 5 cells for k = 32
    indices, present = map(np.asarray, select_topk(jnp.asarray(affinity), 32))
    assert present.sum(-1).max() == present.sum(-1).min() == 5 and (indices[present] >= n).all()
    clean = fine_read(2, keys, values, query, indices, present)
    keys, values = np.array(keys), np.array(values)
    keys[:, :, 0], values[:, :, 0] = 7, -9
    np.testing.assert_array_equal(fine_read(2, keys, values, query, indices, present), clean)


@pytest.mark.parametrize("chunk_bytes", [1, 2**40])
def test_topk_read_has_the_gradient_of_the_dense_form(x64, monkeypatch, chunk_bytes):
    monkeypatch.setattr(matching, "CHUNK_BYTES", chunk_bytes)
    size, grid = 2, (3, 4)
    keys, values, query, indices, present = fine_case(size, grid)
    k = 8
    indices, present = indices[..., :k], present[..., :k]
    n, p = grid[0] * grid[1], size**2
    weights = draw(9, 1, 2, *query.shape[1:3], VALUE)
    selected = np.zeros((1, 2, n, 2 * n), bool)  # [b,o,q,m]
    np.put_along_axis(selected, indices, present, 3)

    def whole(keys, values, query):
        keys, values = (to_blocks(x, size).reshape(1, 2, 2 * n * p, -1) for x in (keys, values))
        affinity = jnp.einsum("bojc,bqpc->boqpj", keys, to_blocks(query, size)) / KEY**0.5
        affinity = jnp.where(jnp.repeat(selected, p, 3)[:, :, :, None], affinity, -jnp.inf)
        return from_blocks(jnp.einsum("boqpj,bojv->boqpv", jax.nn.softmax(affinity, -1), values), *query.shape[1:3])

    def ours(*arrays):
        return fine_read(size, *arrays, indices, present, chunk_bytes)

    def gradient(f):
        return jax.jit(jax.grad(lambda *arrays: jnp.vdot(f(*arrays), weights), (0, 1, 2)))(keys, values, query)

    for found, wanted in zip(gradient(ours), gradient(whole), strict=True):
        assert np.abs(wanted).max() > 1e-3
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12)
