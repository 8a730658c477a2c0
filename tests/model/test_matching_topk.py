"""Compares the top-k guided read of the memory with loops that follow the text of the paper."""

import functools

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from hmmn_jax.model import matching
from hmmn_jax.model.matching import from_blocks, select_topk, to_blocks, topk_guided_read
from tests import oracles
from tests.model.reads import GRID, KEY, TINY, VALUE, draw, every, expected, frames, walk


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
    # The kernel is so narrow that softmax weights underflow to 0. The order of the cells must not depend on these weights.
    out = list(walk(keys, values, queries, every(1), slots, sigma=0.2, window=3))[-1]
    indices, present = map(np.asarray, select_topk(out.log_affinity, k))
    assert indices.shape == present.shape == (1, 2, n, min(k, n if slots == 1 else 2 * n))
    for o in range(2):
        ((_, (_, _, log, _)),) = expected(keys[:, o], values[:, o], queries, every(1), (length - 1,), grid, sigma=0.2, window=3)
        for q, cells in enumerate(oracles.select(log, k)):
            there = present[0, o, q]
            assert there.sum() == len(cells) and there[: len(cells)].all()
            # Indices of the previous frame start at n, after those of the first frame. With only one slot, they start at 0.
            offset = {length - 1: 0 if slots == 1 else n} | ({0: 0} if length > 1 else {})
            assert indices[0, o, q][there].tolist() == [offset[t] + m for t, m in cells]


@functools.cache
def fine_case(size, grid=GRID, dtype=np.float64, objects=2):
    """Returns key and value maps of two frames, a query map, and k selected coarse cells for each query cell.

    For every third query cell, the second half of the selected cells is marked as absent.
    """
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
    """Applies `topk_guided_read` to maps.

    `chunk_bytes` is only used to compile the function again after a test has patched `CHUNK_BYTES`.
    """
    keys, values = (to_blocks(x, size).reshape(1, x.shape[1], -1, size**2, x.shape[-1]) for x in (keys, values))
    return from_blocks(topk_guided_read(keys, values, to_blocks(query, size), indices, present), *query.shape[1:3])


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("chunk_bytes", [1, 300_000, 2**40])  # chunks of one, some or all query cells
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
    """The keys and values of a missing frame have no effect, although indices of absent cells may refer to this frame."""
    keys, values, query, _, _ = fine_case(2, GRID, np.float32)
    n = GRID[0] * GRID[1]
    affinity = np.concatenate([np.full((1, 2, n, n), -np.inf), draw(0, 1, 2, n, n)], axis=3).astype(np.float32)
    affinity[..., n + 5 :] = -np.inf  # only 5 cells exist, but k is 32
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
