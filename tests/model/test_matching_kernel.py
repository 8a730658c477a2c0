"""Compares the kernel-guided read of the memory with loops that follow the text of the paper."""

import functools

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from hmmn_jax.model import matching
from hmmn_jax.model.matching import kernel_guided_read, log_kernel, windowed_argmax
from tests import oracles
from tests.model.reads import GRID, KEY, TINY, VALUE, draw, every, expected, flat, frames, read, walk


@pytest.mark.parametrize("grid", [GRID, TINY, (1, 4)])
@pytest.mark.parametrize("window", [1, 3, 7])
def test_argmax_looks_inside_the_window(grid, window):
    n = grid[0] * grid[1]
    affinity = draw(3, 2, 3, n, n, dtype=np.float32)  # [b,o,q,m]
    affinity[..., 1:3] = 0.5  # all query cells match memory cells 1 and 2 equally; the first cell in the window is returned
    for form in (windowed_argmax, matching._argmax_of_masked):  # accelerators use `_argmax_of_masked`
        found = jax.jit(form, static_argnums=(1, 2, 3))(affinity, *grid, window)
        for b, o in np.ndindex(2, 3):
            np.testing.assert_array_equal(found[b, o], oracles.best_in_window(affinity[b, o].T, *grid, window))
        if window == 1:
            np.testing.assert_array_equal(found[0, 0], np.arange(n))


def test_kernel_is_a_gaussian_around_the_centre(x64):
    # Squared distances to the centre. The centre is in the second row and first column of a grid of 2 x 3 cells.
    squared = [[1, 2, 5], [0, 1, 4]]
    found = log_kernel(jnp.array([[[3]]]), 1.5, 2, 3, jnp.dtype("float64"))
    np.testing.assert_allclose(found[0, 0, :, 0].reshape(2, 3), -np.array(squared) / (2 * 1.5**2), rtol=1e-14)


@pytest.mark.parametrize(
    ("grid", "objects", "length", "kept", "at"),
    [
        (GRID, 1, 40, every(1), (0, 1, 2, 39)),  # number of memory frames in these reads: 1, 2, 3, 40
        (GRID, 3, 12, every(5), (0, 4, 5, 6, 11)),  # 1, 2, 2, 3, 4 memory frames; only frames 0, 5 and 10 stay in the memory
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
    np.testing.assert_array_equal(with_hop[3], without[3])  # the centres do not depend on `extra_hop`
    np.testing.assert_allclose(flat(found), with_hop[0], rtol=0, atol=1e-12)
    assert np.abs(flat(found) - without[0]).max() > 0.05


@pytest.mark.parametrize("capacity", [2, 5])
def test_what_lies_in_slots_that_are_not_filled_is_never_read(capacity):
    keys, values, queries = frames(3, 2, GRID, np.float32)
    # Number of memory frames in the three reads: 1, 2, 2 (capacity 2) or 1, 2, 3 (capacity 5).
    kept = (lambda t: t == 0) if capacity == 2 else every(1)
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
    """Reads are computed in float32, even if the inputs are bfloat16."""
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
    """Computes the read of one or two memory frames with a single softmax and with given kernel centres."""
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
