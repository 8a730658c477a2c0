"""Tests the J&F scores that are computed during training, with known predictions."""

import threading

import jax
import numpy as np
import pytest
from PIL import Image

from configs.train import base as training
from hmmn_jax.datasets.folders import read_sequence
from hmmn_jax.errors import DataError
from hmmn_jax.inference import Result, Segmenter
from hmmn_jax.io.images import write_mask
from hmmn_jax.training.validation import SHEET_SIZE, find_validation, validate
from tests.evaluation.plans import plans

HEIGHT, WIDTH, FRAMES = 48, 64, 5


class Repeating(Segmenter):
    """A segmenter that predicts the first mask for every frame and records the sizes of its inputs."""

    def __init__(self):
        self.sizes = []

    def run(self, frames, mask, later=None):
        ids = np.unique(np.append(mask, np.uint8(0)))
        probs = (mask == ids[:, None, None]).astype(np.float32)
        for t, frame in enumerate(frames):
            self.sizes.append((frame.shape, mask.shape))
            if t:
                yield Result(mask, probs, np.log(probs + 1e-6), ids)


def write_sequence(root, name, masks):
    for t, ids in enumerate(masks):
        frame = root / "JPEGImages/480p" / name / f"{t:05d}.jpg"
        frame.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((HEIGHT, WIDTH, 3), 20 * t, np.uint8)).save(frame)
        write_mask(root / "Annotations/480p" / name / f"{t:05d}.png", ids)
    return read_sequence(root, name, "480p")


def square(top, left, size=16, k=1):
    ids = np.zeros((HEIGHT, WIDTH), np.uint8)
    ids[top : top + size, left : left + size] = k
    return ids


def validated(segmenter, sequences, single_object=False, **options):
    return validate([segmenter], plans(sequences, single_object), **options)


def test_what_stands_still_is_found_by_repeating(tmp_path):
    result = validated(Repeating(), [write_sequence(tmp_path, "still", [square(8, 8)] * FRAMES)])
    assert result.scores == {"jf": 1, "j": 1, "f": 1}
    assert result.sequences == {"still": 1}
    assert result.sheet.shape == (SHEET_SIZE[0], 4 * SHEET_SIZE[1], 3)


def test_every_object_counts_the_same(tmp_path):
    """Two objects do not move, so their J is 1. The third object disappears after the first frame, so its J is 0."""
    two = square(8, 8) + square(28, 40, k=2)
    sequences = [
        write_sequence(tmp_path, "one", [square(8, 8)] * FRAMES),
        write_sequence(tmp_path, "two", [two] + [square(8, 8)] * (FRAMES - 1)),
    ]
    result = validated(Repeating(), sequences)
    assert result.scores["j"] == pytest.approx(2 / 3) and result.scores["f"] == pytest.approx(2 / 3)
    assert result.sequences == {"one": 1, "two": 0.5}


def test_an_object_that_moves_half_its_width(tmp_path):
    """The first and the last frame are not scored. In the other frames, the overlap of the masks is a third of their union."""
    masks = [square(8, 8), *[square(8, 16)] * 3, square(8, 8)]
    result = validated(Repeating(), [write_sequence(tmp_path, "moving", masks)])
    assert result.scores["j"] == pytest.approx(1 / 3)


def test_a_single_object_of_two_ids(tmp_path):
    """With `single_object`, as in DAVIS-2016, all ids are one object, so it does not matter that the ids are swapped."""
    a, b = square(8, 8) + square(8, 24, k=2), square(8, 8, k=2) + square(8, 24)
    sequence = write_sequence(tmp_path, "swap", [a, b, a, b, a])
    assert validated(Repeating(), [sequence], single_object=True).scores["j"] == 1
    assert validated(Repeating(), [sequence]).scores["j"] < 0.5


def test_frames_are_scaled_and_scores_are_at_full_size(tmp_path):
    segmenter = Repeating()
    result = validated(segmenter, [write_sequence(tmp_path, "still", [square(8, 8)] * FRAMES)], size=24)
    assert segmenter.sizes == [((24, 32, 3), (24, 32))] * FRAMES
    assert result.scores["j"] == 1  # exact, because the edges at 8 and 24 are multiples of the scale factor 2


def test_what_cannot_serve_is_reported_before(tmp_path):
    write_sequence(tmp_path, "cat", [square(8, 8)] * FRAMES)
    (tmp_path / "ImageSets/2017").mkdir(parents=True)
    (tmp_path / "ImageSets/2017/val.txt").write_text("cat\n")
    config = training.validation()
    assert find_validation(config) == []
    config.data = str(tmp_path)
    assert [plan.clip.name for plan in find_validation(config)] == ["cat"]
    (tmp_path / "Annotations/480p/cat/00002.png").unlink()
    with pytest.raises(DataError, match=r"1 video\(s\) cannot be used for validation\n  cat: frame 00002 is not annotated"):
        find_validation(config)


def test_own_videos_are_scored_by_their_own_rule(tmp_path):
    """Object 3 disappears after frame 1. Object 9 starts on frame 2 and does not move. The last frame is scored."""
    masks = [square(8, 8, k=3)] * 2 + [square(28, 40, k=9)] * 3
    write_sequence(tmp_path, "own", masks)
    config = training.validation()
    config.data, config.protocol, config.resolution = str(tmp_path), "custom", "480p"
    (plan,) = find_validation(config)
    assert plan.first == {3: 0, 9: 2} and plan.frames == (1, 2, 3, 4)
    result = validate([Repeating()], [plan])
    assert result.scores["j"] == pytest.approx(((1 + 0 + 0 + 0) / 4 + 0) / 2)
    config.late_objects = True
    (plan,) = find_validation(config)
    assert plan.clip.masks.keys() == {0, 1, 2, 3, 4}


def test_a_validation_is_stopped_after_a_frame(tmp_path):
    segmenter = Repeating()
    asked = iter([False, False, True])
    sequences = [write_sequence(tmp_path, name, [square(8, 8)] * FRAMES) for name in ("a", "b")]
    assert validated(segmenter, sequences, stop=lambda: next(asked)) is None
    assert len(segmenter.sizes) == 4  # the segmenter received frames 0 to 3 of the first video


def test_each_device_takes_the_next_video(tmp_path, monkeypatch):
    """Runs validation on three videos with two devices. The results are in the order of the videos."""
    device = jax.local_devices()[0]
    monkeypatch.setattr(jax, "local_devices", lambda: [device, device])
    segmenters = [Repeating(), Repeating()]
    both = threading.Barrier(2, timeout=20)  # raises an error unless both segmenters run at the same time

    def meeting(segmenter):
        def run(*arguments):
            if not segmenter.sizes:
                both.wait()
            yield from Repeating.run(segmenter, *arguments)

        return run

    for segmenter in segmenters:
        segmenter.run = meeting(segmenter)
    masks = {"a": [square(8, 8)] * FRAMES, "b": [square(8, 8), *[square(8, 16)] * 4], "c": [square(8, 8)] * FRAMES}
    sequences = [write_sequence(tmp_path, name, ids) for name, ids in masks.items()]
    result = validate(segmenters, plans(sequences, False))
    assert list(result.sequences) == ["a", "b", "c"] and result.sequences["a"] == result.sequences["c"] == 1
    assert result.scores["j"] == pytest.approx((1 + 1 / 3 + 1) / 3)
    assert sum(len(segmenter.sizes) for segmenter in segmenters) == 3 * FRAMES
