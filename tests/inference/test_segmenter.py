"""Tests `Segmenter` with various settings and inputs, and tests when its programs are compiled."""

import functools
import importlib.util
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from hmmn_jax import Segmenter, Session
from hmmn_jax.inference import compiled as programs
from hmmn_jax.inference import segmenter as module
from tests.inference.runs import IDS, MASK, TOLERANCE, assert_same, make, steps
from tests.model.test_efficientnet_lite import SMALL_LITE
from tests.small import SMALL, TINY, rectangles, untyped, variables, video, with_backbone


@functools.cache
def plain():
    """Returns the frames, the mask and the float32 results of `step` for two videos."""
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
    with untyped():  # the type checks reject the NumPy arrays of a saved state
        state = make().init(frames[0], mask)
        for t in range(1, after + 1):
            state, _ = make().step(state, frames[t])
        state = pickle.loads(pickle.dumps(jax.device_get(state)))
        for t in range(after + 1, 6):
            state, result = make().step(state, frames[t])
            assert_same([result], [expected[t - 1]])


def test_a_step_leaves_its_state_usable_unless_reported_to_donate():
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
    _, result = segmenter.step(state, frames[4])  # the buffers of `state` were not donated
    assert_same([result], [expected[3]])


def test_a_frame_may_be_encoded_before(monkeypatch):
    """Results with and without `query` are bit-identical. With a cache, sessions encode each frame once for both directions."""
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
    """A forward pass gives the results of `step`. A backward pass over the reversed video gives the same results.

    Unknown pixels of an annotation keep the predicted probabilities.
    """
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


def test_a_bank_that_grows_frees_the_one_that_was_full(monkeypatch):
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
    """At most two frames are read ahead of the yielded result. No frame is read before the first result is requested."""
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


def test_equal_blocks_of_both_encoders_are_compiled_once():
    config = with_backbone(TINY, blocks=(1, 3, 2))
    segmenter = Segmenter(variables(config), config)
    programs.layers.clear_cache()
    programs.layers_donating.clear_cache()
    frames = video(2, 64, 80)
    segmenter.step(segmenter.init(frames[0], rectangles((1,), 64, 80)), frames[1])
    # Programs without donation: the max-pooling of each encoder, the first block of each stage, keys and values (the encoders
    # share the programs for all keys and for the stride-16 value), the query's contributions to the decoder at three strides,
    # and the decoder's input at stride 16.
    assert programs.layers._cache_size() == 5 + 6 + 3 + 1
    # Programs with donation: the other blocks of the second and third stages, the decoder's inputs at strides 8 and 4, and the
    # decoder's blocks and sums.
    assert programs.layers_donating._cache_size() == 2 + 2 + 3 + 2


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

    matches, encodings = programs.match._cache_size(), programs.query_first_layer._cache_size()
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        size = 70, 64  # no other test uses this size, so no program has been compiled for it
        state = watch(video(30, *size), rectangles((1, 2), *size))
        # Frames 0, 3, ..., 27 are kept. Frames 0, 3, ..., 21 fill the eight slots of the first bank. The bank grows on
        # frame 23, because the previous frame 22 also needs a slot.
        assert state.groups[0].bank.capacity == 16 and int(state.groups[0].kept) == 10
        assert set(compiled) == {0, 1, 2, 23}, compiled
        assert programs.match._cache_size() - matches == 2 and programs.query_first_layer._cache_size() - encodings == 1
        compiled.clear()
        watch(video(30, *size, seed=1), rectangles((40, 41), *size))
        assert compiled == []
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


@pytest.mark.filterwarnings("error:Some donated buffers")
def test_only_buffers_that_can_be_reused_are_donated():
    """Some blocks inside a stage of EfficientNet-Lite change the shape of their input, so the input cannot be donated."""
    config = SMALL.replace(backbone=SMALL_LITE)
    segmenter = Segmenter(variables(config), config)
    programs.layers_donating.clear_cache()
    frames = video(2, 48, 64)
    _, result = segmenter.step(segmenter.init(frames[0], rectangles((1,), 48, 64)), frames[1])
    assert result.mask.shape == (48, 64) and programs.layers_donating._cache_size() > 0
