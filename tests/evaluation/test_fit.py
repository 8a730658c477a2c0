"""Tests the settings that are chosen automatically, based on the video and the free memory."""

import dataclasses

import jax
import numpy as np
import pytest

from hmmn_jax.evaluation import fit
from hmmn_jax.evaluation.benchmarks import benchmark_settings
from hmmn_jax.evaluation.clips import Clip
from hmmn_jax.inference.segmenter import FIRST_CAPACITY
from hmmn_jax.io.video import ArrayVideo
from hmmn_jax.model import HMMN
from hmmn_jax.model.memory import open_bank
from tests.evaluation.harness import save_ids
from tests.small import SMALL, shapes


def peak_slots(kept):
    """Returns the peak number of slots while a bank grows until it holds `kept` memory frames and the previous frame."""
    capacity = peak = FIRST_CAPACITY
    while capacity < kept + 1:
        peak, capacity = 3 * capacity, 2 * capacity
    return peak


@pytest.fixture
def make_clip(tmp_path):
    def make(length, height, width, objects=1):
        ids = np.zeros((height, width), np.uint8)
        ids[: 4 * objects, :4] = np.arange(1, objects + 1, dtype=np.uint8).repeat(4)[:, None]
        save_ids(tmp_path / "first.png", ids)
        return Clip("v", ArrayVideo(np.zeros((length, height, width, 3), np.uint8)), {0: tmp_path / "first.png"})

    return make


@pytest.mark.parametrize("free", [0, 999, 10_000, 123_456, 10**7, 10**12])
@pytest.mark.parametrize("slot", [10, 4_000])
def test_the_bound_is_the_largest_that_fits(free, slot):
    bound = fit.largest_bound(slot, None, free)
    assert bound + 1 >= FIRST_CAPACITY and (bound + 1) % FIRST_CAPACITY == 0  # the bank also holds the previous frame
    if bound + 1 > FIRST_CAPACITY:
        assert peak_slots(bound) * slot <= free / 2
    assert peak_slots(2 * bound + 1) * slot > free / 2


@pytest.mark.parametrize("needed", [0, 1, 7, 8, 15, 16, 100])
def test_the_bound_is_no_more_than_the_video_needs(needed):
    """If enough memory is free, the bound depends only on the video."""
    bound = fit.largest_bound(1, needed, 10**15)
    assert needed <= bound <= max(2 * needed, FIRST_CAPACITY)
    assert fit.largest_bound(1, needed, None) == min(bound, fit.CAPACITY_IF_UNKNOWN - 1)


@pytest.mark.parametrize(("height", "width", "objects"), [(64, 80, 1), (50, 100, 3)])
def test_bytes_of_a_memory_frame_are_those_of_the_bank(make_clip, height, width, objects):
    def bank_of_first(variables, frame, probs):
        bank = open_bank(HMMN(SMALL).apply(variables, frame, probs, method="memorize"), 8)
        return bank.key_s16, bank.value_s16, bank.centres

    frame, probs = np.zeros((1, height, width, 3), np.uint8), np.zeros((1, objects + 1, height, width), np.float32)
    buffers = jax.eval_shape(bank_of_first, shapes(SMALL), frame, probs)
    expected = sum(leaf.size * leaf.dtype.itemsize for leaf in buffers) // 8
    config = benchmark_settings("custom")
    assert fit.slot_bytes(config, SMALL, make_clip(2, height, width, objects)) == expected
    config.flip = True
    assert fit.slot_bytes(config, SMALL, make_clip(2, height, width, objects)) == 2 * expected


def test_a_pass_has_the_objects_of_one_mask(make_clip, tmp_path):
    """With complete masks of two frames, the mask with more objects determines the memory use."""
    clip, config = make_clip(4, 64, 80, 2), benchmark_settings("custom")
    save_ids(tmp_path / "later.png", np.full((64, 80), 7, np.uint8))
    masks = {**clip.masks, 2: tmp_path / "later.png"}
    found = [
        fit.slot_bytes(config, SMALL, dataclasses.replace(clip, masks=masks, direction=direction)) for direction in ("", "both")
    ]
    assert found == [3 * fit.slot_bytes(config, SMALL, make_clip(4, 64, 80, 1)), found[0] // 3 * 2]


@pytest.mark.parametrize(
    ("height", "width", "size", "line"),
    [
        (
            1080,
            1920,
            480,
            "853x480, scaled down from 1920x1080",
        ),
        (
            960,
            500,
            480,
            "480x922, scaled down from 500x960",
        ),
        (480, 854, 0, "854x480"),
        (240, 426, 0, "426x240"),
    ],
)
def test_frames_are_scaled_down_and_never_up(make_clip, height, width, size, line):
    given = benchmark_settings("custom")
    config, lines = fit.fit_settings(given, {"size"}, make_clip(2, height, width), SMALL)
    way_out = "To change the shorter side in pixels, pass --size N (0: full size)."
    assert lines == [f"The size of the network input is {line}. {way_out}"]
    assert config.size == size and given.size == config.max_memory_frames == 0


@pytest.mark.parametrize(
    ("free", "length", "bound", "said"),
    [
        (10**12, 101, 31, "31, which is enough for the whole video"),
        (40_000, 101, 15, "15 (the whole video needs 20), because 0.0 GB are free and each frame takes 0.0 MB"),
        (None, 101, 31, "31, which is enough for the whole video"),
        (None, 1001, 63, "63, because the free memory is unknown"),
    ],
)
def test_memory_frames_by_free_memory(make_clip, monkeypatch, free, length, bound, said):
    monkeypatch.setattr(fit, "free_bytes", lambda: free)
    config, lines = fit.fit_settings(benchmark_settings("custom"), {"max_memory_frames"}, make_clip(length, 32, 48), SMALL)
    assert config.max_memory_frames == bound and config.size == 0
    way_out = "To change this number, pass --max-memory-frames N (0: no limit)."
    assert lines == [f"The maximum number of memory frames is {said}. {way_out}"]


def test_the_bound_of_an_earlier_run_is_kept(make_clip, monkeypatch):
    monkeypatch.setattr(fit, "free_bytes", lambda: 0)
    config, (line,) = fit.fit_settings(benchmark_settings("custom"), {"max_memory_frames"}, make_clip(99, 32, 48), SMALL, 15)
    assert config.max_memory_frames == 15 and "is 15, as in the earlier run in the output folder" in line


def test_free_memory_of_this_machine():
    assert 2**20 < fit.free_bytes() < 2**50
