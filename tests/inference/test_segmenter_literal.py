"""Tests that `Segmenter` gives the same results as a loop over `HMMN.memorize` and `HMMN.segment`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hmmn_jax import HMMN
from hmmn_jax.inference import segmenter as module
from hmmn_jax.model.memory import bank_of
from tests import oracles
from tests.inference.runs import IDS, LENGTH, MASK, TOLERANCE, assert_same, make, steps
from tests.small import SMALL, rectangles, variables, video

# The loop segments each object separately in float64, concatenates the memories explicitly, and computes masks in NumPy.


@functools.partial(jax.jit, static_argnums=0)
def apply(method, values, *args):
    return HMMN(SMALL).apply(values, *args, method=method)


def memorize(values, frame, probs, channel):
    """Computes the memory of one object. The probabilities of the other objects are added, and the sum is clipped."""
    others = np.clip(np.delete(probs[1:], channel - 1, axis=0).sum(0), 0, 1)
    three = np.stack([probs[0], probs[channel], others])[None]
    return jax.tree.map(lambda x: x[:, :1], apply("memorize", values, frame[None], jnp.asarray(three)))


def give(probs, ids, mask):
    """Sets the probabilities of the given pixels to one-hot values. Pixels with the id 0 keep the prediction.

    Returns the probabilities, the ids of all channels, and the new ids.
    """
    new = [k for k in np.unique(mask) if k != 0 and k not in ids]
    ids = [*ids, *new]
    probs = np.concatenate([probs, np.zeros((len(new), *mask.shape))]) * (mask == 0)
    for channel, k in enumerate(ids):
        if channel:
            probs[channel] += mask == k
    return probs, ids, new


def literal(frames, masks, mem_every, max_memory_frames=None):
    """Yields (mask, probs, logits) for each frame after the first. `masks` maps frame numbers to given masks."""
    values = variables(SMALL, "float64")
    probs, ids, objects = np.ones((1, *frames.shape[1:3])), [0], []
    if 0 in masks:
        probs, ids, new = give(probs, ids, masks[0])
        objects = [{"start": 0, "kept": [], "centres": None} for _ in new]
    for t in range(1, len(frames)):
        p = []
        for channel, one in enumerate(objects, 1):
            previous = memorize(values, frames[t - 1], probs, channel)
            memory = jax.tree.map(lambda *xs: jnp.concatenate(xs, axis=2), *one["kept"], previous)
            centres = one["centres"]
            if centres is not None:  # the centres of the previous frame are not used, and can be 0
                centres = jnp.concatenate([centres, jnp.zeros_like(centres[:, :, :1])], axis=2)
            out = apply("segment", values, frames[t][None], bank_of(memory, centres))
            p.append(jax.nn.sigmoid(out.logits[0, 1]))
            if keep := (t - 1 - one["start"]) % mem_every == 0:
                one["kept"].append(previous)
            centres = out.centres if keep else out.centres[:, :, :-1]
            if max_memory_frames and len(one["kept"]) > max_memory_frames:
                del one["kept"][1]
                centres = np.delete(centres, 1, axis=2)
            one["centres"] = centres
        p = np.array(p).reshape(-1, *frames.shape[1:3])
        logits = soft_aggregation(p)
        e = np.exp(logits)
        probs = e / e.sum(0)
        if t in masks:
            probs, ids, new = give(probs, ids, masks[t])
            objects += [{"start": t, "kept": [], "centres": None} for _ in new]
            logits = np.concatenate([logits, np.full((len(new), *p.shape[1:]), -np.inf)])
        yield np.array(ids)[probs.argmax(0)], probs, logits


def soft_aggregation(p):
    p = np.clip(np.concatenate([np.prod(1 - p, axis=0, keepdims=True), p]), 1e-7, 1 - 1e-7)
    return np.log(p / (1 - p))


def assert_is_literal(results, expected):
    for result, (mask, probs, logits) in zip(results, expected, strict=True):
        np.testing.assert_allclose(result.logits, logits, rtol=0, atol=TOLERANCE)
        np.testing.assert_allclose(result.probs, probs, rtol=0, atol=TOLERANCE)
        np.testing.assert_array_equal(result.mask, mask)


def test_the_literal_aggregation_is_that_of_the_loops():
    p = np.random.default_rng(0).random((3, 4, 5))
    np.testing.assert_allclose(soft_aggregation(p), oracles.aggregate(p), rtol=1e-12)


def test_run_is_steps_is_the_literal_loop(x64):
    frames, segmenter = video(LENGTH), make("float64")
    stepped, run = steps(segmenter, frames, {0: MASK}), list(segmenter.run(frames, MASK))
    assert_same(run, stepped)
    assert_is_literal(run, literal(frames, {0: MASK}, 2))
    last = run[-1]
    assert last.mask.dtype == jnp.uint8 and last.ids.tolist() == [0, *IDS]
    assert last.probs.shape == last.logits.shape == (3, 90, 100) and last.mask.shape == (90, 100)
    assert set(np.unique(last.mask)) <= {0, *IDS} and 0.01 < last.probs[1].mean() < 0.99
    np.testing.assert_allclose(last.probs.sum(0), 1, rtol=0, atol=1e-12)


MOVED = np.roll(rectangles((9,)), 30, axis=1)
JOINS = {
    "on the frame after init": {0: rectangles((5,)), 1: MOVED},
    "two at once, then one, ids not in order": {0: rectangles((200,)), 2: rectangles((7, 9)), 5: np.minimum(MOVED, 8)},
    "after a stretch without objects": {3: MASK},
    "known ids again, then one of them and a new one": {0: MASK, 2: np.roll(MASK, 10, axis=0), 4: np.maximum(MASK, MOVED)},
    "an empty mask, then all pixels": {0: MASK, 2: np.zeros_like(MASK), 4: np.full_like(MASK, 4)},
}


@pytest.mark.parametrize("masks", JOINS.values(), ids=JOINS)
def test_objects_that_join(x64, masks):
    frames = video(7)
    results = steps(make("float64"), frames, masks)
    assert_is_literal(results, literal(frames, masks, 2))
    for t, mask in masks.items():
        if t:
            result = results[t - 1]
            np.testing.assert_array_equal(np.where(mask, result.mask, 0), mask)
            assert set(np.unique(mask)) <= set(result.ids)


@pytest.mark.parametrize("limit", [1, 3])
def test_a_bounded_memory_drops_the_oldest_but_the_first(x64, limit):
    frames, segmenter = video(LENGTH), make("float64", mem_every=1, max_memory_frames=limit)
    assert_is_literal(segmenter.run(frames, MASK), literal(frames, {0: MASK}, 1, limit))


def test_a_bounded_memory_stays_as_large_as_it_is(monkeypatch):
    monkeypatch.setattr(module, "FIRST_CAPACITY", 2)
    frames, segmenter = video(LENGTH), make(mem_every=1, max_memory_frames=3)
    state, sizes = segmenter.init(frames[0], MASK), []
    for frame in frames[1:]:
        state, _ = segmenter.step(state, frame)
        sizes.append(sum(x.nbytes for x in jax.tree.leaves([group.bank for group in state.groups])))
    assert sizes[3] == sizes[-1] > sizes[0]
    assert {group.bank.capacity for group in state.groups} == {4}
