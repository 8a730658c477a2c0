"""`Segmenter` against a loop over `HMMN.memorize` and `HMMN.segment`, and with other settings or inputs."""

import functools
import importlib.util
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from hmmn_jax import HMMN, Segmenter, Session
from hmmn_jax.inference import compiled as programs
from hmmn_jax.inference import segmenter as module
from hmmn_jax.model.memory import bank_of
from tests import oracles
from tests.small import SMALL, rectangles, untyped, variables, video

IDS = (3, 255)  # any ids, gaps allowed
MASK = rectangles(IDS)
LENGTH = 7


# The loop: every object separately, memories joined explicitly, masks computed in NumPy. Float64.


@functools.partial(jax.jit, static_argnums=0)
def apply(method, values, *args):
    return HMMN(SMALL).apply(values, *args, method=method)


def memorize(values, frame, probs, channel):
    """The memory of one object. The others are one object: the clipped sum of their probabilities."""
    others = np.clip(np.delete(probs[1:], channel - 1, axis=0).sum(0), 0, 1)
    three = np.stack([probs[0], probs[channel], others])[None]
    return jax.tree.map(lambda x: x[:, :1], apply("memorize", values, frame[None], jnp.asarray(three)))


def give(probs, ids, mask):
    """Given pixels are one-hot; other pixels keep the prediction."""
    new = [k for k in np.unique(mask) if k != 0 and k not in ids]
    ids = [*ids, *new]
    probs = np.concatenate([probs, np.zeros((len(new), *mask.shape))]) * (mask == 0)
    for channel, k in enumerate(ids):
        if channel:
            probs[channel] += mask == k
    return probs, ids, new


def literal(frames, masks, mem_every, max_memory_frames=None):
    """Yields (mask, probs, logits) of each frame after the first; `masks` by frame number."""
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
            if centres is not None:  # those of the previous frame are not read
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


# Masks are rounded to float32 in the network. If two programs differ in the last bit of float64, one of a million values is
# rounded differently, and the difference grows with each frame. An error in the method gives differences that are a thousand
# times larger.
TOLERANCE = 2e-6


def assert_is_literal(results, expected):
    for result, (mask, probs, logits) in zip(results, expected, strict=True):
        np.testing.assert_allclose(result.logits, logits, rtol=0, atol=TOLERANCE)
        np.testing.assert_allclose(result.probs, probs, rtol=0, atol=TOLERANCE)
        np.testing.assert_array_equal(result.mask, mask)


def make(dtype="float32", **options):
    return Segmenter(variables(SMALL, dtype), SMALL, **({"mem_every": 2} | options))


def steps(segmenter, frames, masks, **options):
    """The results of a video, step by step; `masks` by frame number."""
    state, results = segmenter.init(frames[0], masks.get(0)), []
    for t in range(1, len(frames)):
        state, result = segmenter.step(state, frames[t], masks.get(t), **options)
        results.append(result)
    return results


def assert_same(found, expected, atol=0.0):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.ids, other.ids)
        np.testing.assert_array_equal(one.mask, other.mask)
        np.testing.assert_allclose(one.probs, other.probs, rtol=0, atol=atol)
        np.testing.assert_allclose(one.logits, other.logits, rtol=0, atol=atol)


# Against the loop


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


# Other settings and inputs


@functools.cache
def plain():
    """Two videos in float32, and their results with `step`."""
    videos = [(video(6, seed=seed), mask) for seed, mask in ((1, MASK), (2, np.roll(MASK, 7, axis=0)))]
    return [(frames, mask, steps(make(), frames, {0: mask})) for frames, mask in videos]


def test_two_videos_can_be_interleaved():
    segmenter = make()
    states = [segmenter.init(frames[0], mask) for frames, mask, _ in plain()]
    for t in range(1, 6):
        for i, (frames, _, expected) in enumerate(plain()):
            states[i], result = segmenter.step(states[i], frames[t])
            assert_same([result], [expected[t - 1]])


@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_state_can_be_saved_and_taken_up_again(after):
    (frames, mask, expected), _ = plain()
    with untyped():  # a saved state has NumPy arrays
        state = make().init(frames[0], mask)
        for t in range(1, after + 1):
            state, _ = make().step(state, frames[t])
        state = pickle.loads(pickle.dumps(jax.device_get(state)))
        for t in range(after + 1, 6):
            state, result = make().step(state, frames[t])
            assert_same([result], [expected[t - 1]])


def test_a_step_leaves_its_state_usable_unless_told_to_donate():
    (frames, mask, expected), _ = plain()
    segmenter = make()
    state = segmenter.init(frames[0], mask)
    for t in range(1, 4):
        before = state
        state, _ = segmenter.step(state, frames[t])
    again, result = segmenter.step(before, frames[3])
    assert_same([result], [expected[2]])
    buffers = [group.bank.key_s16 for group in again.groups]
    _, result = segmenter.step(again, frames[4], donate=True)
    assert_same([result], [expected[3]])
    assert all(buffer.is_deleted() for buffer in buffers)
    _, result = segmenter.step(state, frames[4])  # from other buffers
    assert_same([result], [expected[3]])


def test_a_frame_may_be_encoded_before(monkeypatch):
    """Results are bit-identical, and a session encodes each frame once for both directions."""
    (frames, mask, expected), _ = plain()
    segmenter = make()
    state = segmenter.init(frames[0], mask)
    for t in range(1, 4):
        state, result = segmenter.step(state, frames[t], query=segmenter.encode(frames[t]))
        assert_same([result], [expected[t - 1]])
    encode, calls = programs.encode_query, []
    monkeypatch.setattr(programs, "encode_query", lambda *arguments: calls.append(1) or encode(*arguments))
    found = []
    for encoded, count in ((None, 4), (0, 8)):
        session = Session(segmenter, frames, encoded=encoded)
        session.annotate(0, mask)
        session.annotate(5, mask)
        found.append([(t, result.mask, result.probs) for t, result in session.propagate()])
        assert len(calls) == count
        calls.clear()
    for (t, *once), (s, *twice) in zip(*found, strict=True):
        assert t == s and all(map(np.array_equal, once, twice))


def test_the_passes_of_a_session_are_its_runs():
    """Forwards, and backwards on the reversed video, with an annotation whose unknown pixels have probabilities."""
    (frames, mask, expected), _ = plain()
    forward, backward = Session(make(), frames), Session(make(), list(frames[::-1]))
    forward.annotate(0, mask)
    backward.annotate(5, mask)
    for t, result in forward.propagate():
        np.testing.assert_array_equal(result.mask, expected[t - 1].mask)
        np.testing.assert_allclose(result.probs, expected[t - 1].probs, rtol=0, atol=1 / 255)
    for t, result in backward.propagate(2):
        np.testing.assert_array_equal(result.mask, forward.masks[5 - t])
        np.testing.assert_array_equal(result.probs, forward.result(5 - t).probs)
    forward.annotate(2, mask, mask == 0)
    soft = forward.result(2)
    ((_, found),) = forward.propagate(3, 4)
    state = make().init(frames[2], soft.mask)
    state, result = make().step(state.replace(probs=jnp.asarray(soft.probs)[None]), frames[3])
    assert 0.01 < soft.probs[0][mask == 0].mean() < 0.99 and found.ids == tuple(result.ids)
    np.testing.assert_array_equal(found.mask, result.mask)


def test_a_bank_that_grows_is_one_that_was_large(x64, monkeypatch):
    frames = video(7)
    found = {}
    for capacity in (2, 8):
        monkeypatch.setattr(module, "FIRST_CAPACITY", capacity)
        found[capacity] = list(make("float64", mem_every=1).run(frames, rectangles((1,))))
    assert_same(found[2], found[8], atol=TOLERANCE)


def test_a_bank_that_grows_lets_go_of_the_one_that_was_full(monkeypatch):
    monkeypatch.setattr(module, "FIRST_CAPACITY", 2)
    frames, segmenter = video(4), make(mem_every=1)
    state = segmenter.init(frames[0], MASK)
    for frame in frames[1:3]:
        state, _ = segmenter.step(state, frame, donate=True)
    full = [(group.bank.key_s16, group.bank.value_s16, group.bank.centres) for group in state.groups]
    assert {key.shape[2] for key, _, _ in full} == {2}
    grown, _ = segmenter.step(state, frames[3], donate=True)
    assert {group.bank.capacity for group in grown.groups} == {4}
    assert all(buffer.is_deleted() for buffers in full for buffer in buffers)


@pytest.mark.parametrize("size", [2, 4])
def test_batches_of_objects_do_not_matter(x64, size):
    frames, mask = video(3), rectangles((1, 2, 4, 8, 16))
    alone, together = (list(make("float64", objects_per_batch=n).run(frames, mask)) for n in (1, size))
    assert_same(together, alone, atol=TOLERANCE)


@pytest.mark.parametrize("mask", [None, np.zeros_like(MASK)])
def test_no_object_at_all_is_background(mask):
    frames = video(3)
    results = list(make().run(frames, mask))
    assert len(results) == 2
    for result in results:
        assert result.ids.tolist() == [0] and not np.asarray(result.mask).any()
        np.testing.assert_array_equal(result.probs, np.ones((1, 90, 100)))


def test_float_frames_are_taken_as_they_are(x64):
    frames = video(3)
    of_bytes = list(make("float64").run(frames, MASK))
    assert_same(make("float64").run(frames.astype(np.float32) / np.float32(255), MASK), of_bytes, atol=TOLERANCE)


def test_floats_may_leave_the_range_by_a_rounding(x64):
    frame = np.linspace(-1e-4, 1 + 1e-4, 27000).reshape(90, 100, 3)
    for given in (frame, jnp.asarray(frame)):
        np.testing.assert_array_equal(make().init(given, None).frame[0], frame)


def test_a_bool_mask_is_object_1():
    frame = video(1)[0]
    for found in (make().init(frame, MASK > 0), make().step(make().init(frame, None), frame, MASK > 0)[0]):
        np.testing.assert_array_equal(found.ids, [0, 1])
        np.testing.assert_array_equal(found.probs[0, 1], MASK > 0)


def test_pictures_and_tensors_are_read():
    frame = video(1)[0]
    with untyped():
        found = [make().init(Image.fromarray(frame), Image.fromarray(MASK)), make().init((frame / 255).tolist(), MASK)]
        if importlib.util.find_spec("torch"):
            import torch

            found.append(make().init(torch.from_numpy(frame), torch.from_numpy(MASK)))
    for state in found:
        scale = 1 if state.frame.dtype == np.uint8 else 255
        np.testing.assert_allclose(state.frame[0] * scale, frame, atol=1e-4)
        np.testing.assert_array_equal(state.ids, [0, *IDS])


@pytest.mark.parametrize("length", [0, 1])
def test_a_video_of_one_frame_has_no_results(length):
    assert list(make().run(video(1)[:length], MASK)) == []


def test_run_streams():
    """At most two frames are read ahead of the yielded result, and none before the first request."""
    fetched, frames = [], video(6)

    def stream():
        for t, frame in enumerate(frames):
            fetched.append(t)
            yield frame

    results = make().run(stream(), MASK)
    assert fetched == []
    for t, _ in enumerate(results, 1):
        assert t <= fetched[-1] <= t + 2
    assert len(fetched) == 6


# Invalid arguments


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        (np.zeros((90, 100), np.uint8), r"uint8 \[90, 100\], expected \[H, W, 3\]"),
        (np.zeros((90, 100, 4), np.uint8), r"uint8 \[90, 100, 4\], expected \[H, W, 3\]"),
        (np.zeros((1, 90, 100, 3), np.uint8), r"uint8 \[1, 90, 100, 3\]"),
        (np.zeros((90, 100, 3), np.int64), r"int64 \[90, 100, 3\], expected .* uint8 or float"),
        (np.zeros((90, 100, 3), bool), r"bool \[90, 100, 3\]"),
        (np.zeros((0, 100, 3), np.float32), r"float32 \[0, 100, 3\]"),
        ("a picture", "expected"),
        (np.full((90, 100, 3), 200, np.float32), r"float32 \[90, 100, 3\] with values from 200 to 200, .* divide by 255"),
        (np.linspace(-1, 1, 27000, dtype=np.float16).reshape(90, 100, 3), "values from -1 to 1, expected float in"),
        (np.where(np.arange(27000) == 5, np.nan, 0.5).reshape(90, 100, 3), "values that are not finite"),
        (np.where(np.arange(27000) == 5, np.inf, 0.5).reshape(90, 100, 3), "values that are not finite"),
        (jnp.full((90, 100, 3), 1.01), "values from 1.01 to 1.01"),
        (jnp.full((90, 100, 3), jnp.nan), "values that are not finite"),
    ],
)
def test_what_is_no_frame_is_refused(frame, told):
    with untyped():
        with pytest.raises(ValueError, match=told):
            make().init(frame, None)
        with pytest.raises(ValueError, match=told):
            make().step(make().init(video(1)[0], MASK), frame)


def test_a_frame_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"the frame is \[90, 101, 3\], expected \[90, 100, 3\]"):
        make().step(make().init(video(1)[0], MASK), video(1, 90, 101)[0])


@pytest.mark.parametrize(
    ("mask", "told"),
    [
        (MASK[:, 1:], r"uint8 \[90, 99\], expected uint8 .* \[90, 100\]"),
        (MASK.T, r"uint8 \[100, 90\], expected uint8 .* \[90, 100\]"),
        (MASK[..., None], r"uint8 \[90, 100, 1\], expected uint8 .* \[90, 100\]"),
        (MASK.astype(np.int64), r"int64 \[90, 100\], expected uint8 or uint16 \(ids\) or bool"),
        (MASK.astype(np.float32), r"float32 \[90, 100\]"),
    ],
)
def test_what_is_no_mask_of_its_frame_is_refused(mask, told):
    frames = video(2)
    with untyped():
        with pytest.raises(ValueError, match=told):
            make().init(frames[0], mask)
        with pytest.raises(ValueError, match=told):
            make().step(make().init(frames[0], None), frames[1], mask)


@pytest.mark.parametrize("name", ["mem_every", "max_memory_frames", "objects_per_batch"])
@pytest.mark.parametrize("value", [0, 2.5])
def test_counts_are_integers_from_one_on(name, value):
    with pytest.raises(ValueError, match=f"{name} is {value}, expected an integer, 1 or more"), untyped():
        make(**{name: value})


@pytest.mark.parametrize("key", [0, -1, 1.5, "00002"])
def test_later_masks_of_what_is_no_later_frame(key):
    with pytest.raises(ValueError, match=f"later has {key!r}, expected indices of frames after the first"), untyped():
        next(make().run(video(2), MASK, {key: MASK}))


def test_a_later_mask_beyond_the_end_is_told_when_all_frames_are_done():
    results = make().run(video(3), MASK, {2: MASK, 7: MASK})
    assert len([next(results), next(results)]) == 2
    with pytest.raises(ValueError, match=r"later has masks of frames \[7\], but the last frame is 2"):
        next(results)


# Compilation


def test_a_clip_of_30_frames_compiles_when_it_starts_and_when_its_bank_doubles():
    compiled, now = [], [0]

    def listen(event, _, **__):
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(now[0])

    def watch(frames, mask):
        segmenter = make(mem_every=3)
        state = segmenter.init(frames[0], mask)
        for now[0] in range(1, len(frames)):
            state, _ = segmenter.step(state, frames[now[0]], donate=True)
        return state

    matches, encodings = programs.match._cache_size(), programs.encode_query._cache_size()
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        size = 70, 64  # not used in another test
        state = watch(video(30, *size), rectangles((1, 2), *size))
        # Frames 0, 3, ..., 27 are kept. Frames 0 to 21 fill the eight slots of the first bank, so it grows on frame 22.
        assert state.groups[0].bank.capacity == 16 and int(state.groups[0].kept) == 10
        assert set(compiled) == {0, 1, 2, 23}, compiled
        assert programs.match._cache_size() - matches == 2 and programs.encode_query._cache_size() - encodings == 1
        compiled.clear()
        watch(video(30, *size, seed=1), rectangles((40, 41), *size))
        assert compiled == []
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
