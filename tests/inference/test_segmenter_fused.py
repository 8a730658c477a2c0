"""A fused segmenter, as on accelerators: three programs a frame, and the same results."""

import jax
import numpy as np
import pytest

from hmmn_jax import Segmenter
from hmmn_jax.inference import segmenter as module
from tests.small import TINY, quick_compilation, rectangles, variables, video

SIZE = 32, 48
PLAIN = TINY.replace(use_topk_read=False)


@pytest.fixture(scope="module", autouse=True)
def quick():
    with quick_compilation():
        yield


def make(config=PLAIN, dtype="float32", **options):
    return Segmenter(variables(config, dtype), config, **({"mem_every": 1, "objects_per_batch": 2} | options))


def programs(segmenter, state, frame, **options):
    """The names of the programs that a step starts, in order; an operation outside of one counts too. Nothing runs."""
    leaves, tree = jax.tree.flatten(state)
    places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, jax.Array)]

    def step(*arrays):
        for i, array in zip(places, arrays, strict=True):
            leaves[i] = array
        _, result = segmenter.step(jax.tree.unflatten(tree, leaves), frame, **options)
        return result[:3]

    traced = jax.make_jaxpr(step)(*(leaves[i] for i in places))
    return [equation.params.get("name", equation.primitive.name) for equation in traced.eqns]


@pytest.mark.parametrize("objects", [1, 3, 10])
def test_a_frame_takes_three_programs_however_many_objects_there_are(objects):
    frames, mask = video(2, *SIZE), np.arange(SIZE[0] * SIZE[1], dtype=np.uint8).reshape(SIZE) % (objects + 1)
    fused, by_batch = make(fused=True), make(fused=False)
    state = fused.init(frames[0], mask)
    assert programs(fused, state, frames[1]) == ["encode_all", "_match_all", "decode_all"]
    assert len(programs(by_batch, state, frames[1])) >= 9 + 4 * ((objects + 1) // 2 - 1)


def test_by_default_all_but_a_cpu_is_fused():
    assert not make().fused and not make().known_lengths


def assert_same(found, wanted):
    np.testing.assert_array_equal(found.ids, wanted.ids)
    np.testing.assert_array_equal(found.mask, wanted.mask)
    np.testing.assert_allclose(found.probs, wanted.probs, rtol=0, atol=2e-6)
    np.testing.assert_allclose(found.logits, wanted.logits, rtol=0, atol=2e-6)


def test_results_are_those_of_single_programs(x64, monkeypatch):
    """Three objects, one more that joins, banks that grow from 2 slots to 4 and are then full, loops of known length."""
    monkeypatch.setattr(module, "FIRST_CAPACITY", 2)
    frames, masks = video(5, *SIZE), {2: rectangles((7,), *SIZE)}
    options = {"config": TINY, "dtype": "float64", "max_memory_frames": 2}
    mask = rectangles((1, 2, 4), *SIZE)
    fused = make(fused=True, **options)
    fused.known_lengths = True
    state = fused.init(frames[0], mask)
    for t, wanted in enumerate(make(**options).run(frames, mask, masks), 1):
        if t == 2:  # a state stays usable unless it is donated
            _, result = fused.step(state, frames[t], masks.get(t))
            assert_same(result, wanted)
        banks = [group.bank.key_s16 for group in state.groups if group.bank is not None]
        state, result = fused.step(state, frames[t], masks.get(t), donate=True)
        assert_same(result, wanted)
        assert all(bank.is_deleted() for bank in banks)
    assert [group.bank.capacity for group in state.groups] == [4, 4, 2] and int(state.groups[0].kept) == 3


def test_independent_objects(x64):
    frames = video(2, *SIZE)
    given = {3: rectangles((1,), *SIZE) > 0, 5: rectangles((0, 1), *SIZE) > 0}
    runs = (make(dtype="float64", independent=True, fused=fused).run(frames, given) for fused in (True, False))
    for found, wanted in zip(*runs, strict=True):
        assert_same(found, wanted)
