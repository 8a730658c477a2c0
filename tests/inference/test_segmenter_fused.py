"""Tests segmenters with fused programs, which are the default on accelerators.

For each frame, the segmenter runs three programs. Fused programs do not change the results. Several videos can be segmented
at once.
"""

import jax
import numpy as np
import pytest

from hmmn_jax import Segmenter
from hmmn_jax.inference import segmenter as module
from tests.small import TINY, rectangles, variables, video

SIZE = 32, 48
PLAIN = TINY.replace(use_topk_read=False)


def make(config=PLAIN, dtype="float32", **options):
    return Segmenter(variables(config, dtype), config, **({"mem_every": 1, "objects_per_batch": 2} | options))


def trace(segmenter, state, frame):
    """Returns the names of the programs that a step starts, in order, and the shapes of its result.

    The step is only traced, so nothing is computed. The names include operations outside of the programs.
    """
    leaves, tree = jax.tree.flatten(state)
    places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, jax.Array)]

    def step(*arrays):
        for i, array in zip(places, arrays, strict=True):
            leaves[i] = array
        _, result = segmenter.step(jax.tree.unflatten(tree, leaves), frame)
        return result[:3]

    traced = jax.make_jaxpr(step)(*(leaves[i] for i in places))
    return [equation.params.get("name", equation.primitive.name) for equation in traced.eqns], traced.out_avals


@pytest.mark.parametrize("objects", [1, 3, 10])
def test_a_frame_takes_three_programs_however_many_objects_there_are(objects):
    frames, mask = video(2, *SIZE), np.arange(SIZE[0] * SIZE[1], dtype=np.uint8).reshape(SIZE) % (objects + 1)
    fused, by_batch = make(fused=True), make(fused=False)
    state = fused.init(frames[0], mask)
    (found, shapes), (others, expected) = (trace(segmenter, state, frames[1]) for segmenter in (fused, by_batch))
    assert found == ["encode_all", "_match_all", "decode_all"] and shapes == expected
    assert len(others) >= 9 + 4 * ((objects + 1) // 2 - 1)


def test_independent_objects_take_three_programs_too():
    frames, given = video(2, *SIZE), {i: rectangles((i,), *SIZE) > 0 for i in (3, 5, 8)}
    fused = make(fused=True, independent=True)
    found, (mask, *others) = trace(fused, fused.init(frames[0], given), frames[1])
    assert len(found) == 3 and (mask.dtype, mask.shape) == (bool, (3, *SIZE))
    assert [x.shape for x in others] == [(4, *SIZE), (4, *SIZE)]


def test_by_default_all_but_a_cpu_is_fused():
    assert not make().fused and not make().known_lengths


def test_results_are_those_of_single_programs(x64, monkeypatch):
    """A second object starts later. The bank of the first object grows from 2 to 4 slots and then drops a frame.

    The number of loop iterations is known at compile time, as on GPUs.
    """
    monkeypatch.setattr(module, "FIRST_CAPACITY", 2)
    frames, mask, masks = video(5, *SIZE), rectangles((3,), *SIZE), {2: rectangles((0, 7), *SIZE)}
    options = {"config": TINY, "dtype": "float64", "max_memory_frames": 2}
    fused = make(fused=True, **options)
    fused.known_lengths = True
    state = fused.init(frames[0], mask)
    for t, wanted in enumerate(make(**options).run(frames, mask, masks), 1):
        before, last = state, t == 4
        state, result = fused.step(state, frames[t], masks.get(t), donate=last)
        np.testing.assert_array_equal(result.ids, wanted.ids)
        np.testing.assert_array_equal(result.mask, wanted.mask)
        np.testing.assert_allclose(result.probs, wanted.probs, rtol=0, atol=2e-6)
        np.testing.assert_allclose(result.logits, wanted.logits, rtol=0, atol=2e-6)
        banks = [group.bank.key_s16 for group in before.groups if group.bank is not None]
        assert all(bank.is_deleted() == last for bank in banks)
    assert [group.bank.capacity for group in state.groups] == [4, 2] and int(state.groups[0].kept) == 3


@pytest.mark.parametrize(
    ("masks", "fused"),
    [
        ([(3,), (255,), (300,)], True),
        pytest.param([(3, 255), (1, 2), (7, 300)], True, marks=pytest.mark.slow),
        pytest.param([(3, 255), (1, 2), (7, 300)], False, marks=pytest.mark.slow),
    ],
)
def test_videos_together_equal_each_alone(x64, monkeypatch, masks, fused):
    """The videos have different ids, and one video ends before the others.

    With `fused`, a single video with one object uses the fused programs, too.
    """
    monkeypatch.setattr(module, "FIRST_CAPACITY", 2)
    segmenter = make(TINY, "float64", fused=fused)
    videos = [video(length, *SIZE, seed) for seed, length in enumerate((3, 2, 3))]
    given = [rectangles(range(1, len(ids) + 1), *SIZE) for ids in masks]
    given = [np.array([0, *ids], np.uint16)[mask] for ids, mask in zip(masks, given, strict=True)]
    alone = [list(segmenter.run(*each)) for each in zip(videos, given, strict=True)]
    together = list(segmenter.run_together(videos, given))
    assert len(together) == 2
    for t, found in enumerate(together):
        assert found.mask.shape == (3, *SIZE) and found.probs.shape == found.logits.shape == (3, 1 + len(masks[0]), *SIZE)
        for v, wanted in enumerate(alone):
            if t < len(wanted):
                np.testing.assert_array_equal(found.ids[v], wanted[t].ids)
                np.testing.assert_array_equal(found.mask[v], wanted[t].mask)
                np.testing.assert_allclose(found.probs[v], wanted[t].probs, rtol=0, atol=1e-9)
                np.testing.assert_allclose(found.logits[v], wanted[t].logits, rtol=0, atol=1e-9)


def test_what_cannot_be_one_batch_is_reported():
    segmenter = make()
    frames, mask = video(2, *SIZE), rectangles((1,), *SIZE)

    def refusal(videos, masks):
        with pytest.raises(ValueError) as caught:
            next(segmenter.run_together(videos, masks))
        return str(caught.value)

    assert "a mask for each" in refusal([frames, frames], [mask])
    assert "videos with frames" in refusal([frames, []], [mask, mask])
    message = refusal([frames, frames], [mask, rectangles((1, 2), *SIZE)])
    assert "[32, 48, 3] with 1 object(s), [32, 48, 3] with 2 object(s), expected the same size and number of objects" in message
