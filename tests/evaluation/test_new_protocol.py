"""Tests a protocol that is defined in this file: objects may overlap, have separate folders, and start on any frame."""

import csv
import zipfile
from functools import partial

import numpy as np
import pytest
from PIL import Image

from configs.evaluate.base import base
from hmmn_jax.datasets.listing import list_frames
from hmmn_jax.errors import DataError
from hmmn_jax.evaluation.clips import Clip
from hmmn_jax.evaluation.mask_files import FolderPerObject
from hmmn_jax.evaluation.plans import Plan
from hmmn_jax.evaluation.protocols import Protocol, register
from hmmn_jax.inference import Segmenter
from hmmn_jax.io.image_video import ImageVideo
from hmmn_jax.io.images import read_ids
from hmmn_jax.metrics.davis import SequenceScores
from hmmn_jax.metrics.jf import boundary_f, jaccard
from tests.evaluation.harness import discs, run_evaluate, save_frames
from tests.small import SMALL, variables


class OverlapPlan(Plan):
    """Scores each object on the annotated frames after its first frame. J and F are computed from binary masks."""

    single_object = False

    def __init__(self, clip):
        self.clip, self.frames = clip, tuple(t for t in sorted(clip.annotations) if t)
        self.ids = sorted({i for files in clip.masks.values() for i in files})
        self.start = {i: min(t for t, files in clip.masks.items() if i in files) for i in self.ids}

    def files(self, folder, index):
        name = self.clip.frame_name(index)
        return [folder / self.clip.name / f"{i:03d}/{name}.png" for i in self.ids if self.start[i] <= index]

    def read_prediction(self, folder, index):
        there = iter(self.files(folder, index))
        height, width = self.clip.size
        empty = np.zeros((height, width), bool)
        return np.stack([read_ids(next(there)) > 0 if self.start[i] <= index else empty for i in self.ids])

    def read_truth(self, index, height, width):
        files = self.clip.annotations[index]
        return np.stack([read_ids(files[i]) > 0 if i in files else np.zeros((height, width), bool) for i in self.ids])

    def score(self, frames):
        names, indices, j, f = [], [], [], []
        for t, name, pred, truth, _ in frames:
            counts = [t > self.start[i] for i in self.ids]
            j.append([jaccard(*pair) if on else np.nan for *pair, on in zip(pred, truth, counts, strict=True)])
            f.append([boundary_f(*pair) if on else np.nan for *pair, on in zip(pred, truth, counts, strict=True)])
            names.append(name)
            indices.append(t)
        return SequenceScores(self.clip.name, tuple(names), np.array(j).T, np.array(f).T, tuple(self.ids), tuple(indices))


@register("overlapping")
class Overlapping(Protocol):
    """Reads `frames/VIDEO/FRAME.jpg` and `objects/VIDEO/OBJECT/FRAME.png`.

    The segmenter receives the first mask of each object.
    """

    mask_files = FolderPerObject()
    rule = "Objects overlap."

    def find(self, root, notes):
        return {
            path.name: partial(self.open, path, root / "objects" / path.name) for path in sorted((root / "frames").iterdir())
        }

    def open(self, frames, objects):
        paths = list_frames(frames)
        names = tuple(path.stem for path in paths)
        truth = {}
        for path in sorted(objects.glob("*/*.png")):
            truth.setdefault(names.index(path.stem), {})[int(path.parent.name)] = path
        given, known = {}, set()
        for t in sorted(truth):
            if new := {i: path for i, path in truth[t].items() if i not in known}:
                given[t], known = new, known | set(new)
        if not given:
            raise DataError(f"{objects}: no object")
        images = ImageVideo(paths)
        return Clip(frames.name, images, given, None, (*paths,), truth)

    def inputs(self, root):
        return root / "frames", root / "objects"

    def plan(self, clip, notes):
        return OverlapPlan(clip)

    def shown_truth(self, clip, index, height, width):
        files = clip.annotations[index]
        return np.max([np.where(read_ids(path) > 0, i, 0) for i, path in files.items()], axis=0).astype(np.uint8)


class Still(Segmenter):
    """Repeats the given mask of each object, even if other objects overlap it."""

    def __init__(self):
        pass

    def run(self, frames, mask, later=None):
        from hmmn_jax.inference import Result

        found = {}
        for t, frame in enumerate(frames):
            found |= mask if t == 0 else (later or {}).get(t, {})
            if t:
                objects = np.array([*found.values()], bool).reshape(-1, *frame.shape[:2])
                probs = np.concatenate([~objects.any(0, keepdims=True), objects]).astype(np.float32)
                yield Result(objects, probs, None, np.array([0, *found], np.uint16))


HEIGHT, WIDTH = 48, 64
ONE, OTHER = np.zeros((2, HEIGHT, WIDTH), bool)
ONE[10:30, 10:40], OTHER[20:40, 20:60] = True, True


@pytest.fixture
def root(tmp_path):
    """Writes a video. Object 3 starts on the first frame. Object 300 starts on the third frame and overlaps object 3."""
    frames, _ = discs(5, HEIGHT, WIDTH)
    save_frames(tmp_path / "in/frames/v", frames)
    for i, mask, start in ((3, ONE, 0), (300, OTHER, 2)):
        (tmp_path / f"in/objects/v/{i:03d}").mkdir(parents=True)
        for t in range(start, 5):
            Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / f"in/objects/v/{i:03d}/{t:05d}.png")
    return tmp_path / "in"


def config():
    made = base()
    made.protocol = "overlapping"
    made.submission = "{sequence}/{object}/{frame}.png"
    return made


def test_from_a_folder_to_scores_report_and_archive(root, tmp_path):
    scored = run_evaluate(
        Still(), config=config(), fields={"submission": ""}, data=root, output=tmp_path / "scored", overlays=True
    )
    assert scored.code == 0, scored.err
    assert "v has 5 frames of 64x48 pixels and 2 objects: 3 (600 px), 300 (800 px from frame 00002)" in scored.out
    with open(tmp_path / "scored/per_frame.csv") as file:
        rows = list(csv.DictReader(file))
    assert [(row["object"], row["frame"]) for row in rows] == [
        *(("3", f"{t:05d}") for t in range(1, 5)),
        *(("300", f"{t:05d}") for t in (3, 4)),
    ]
    assert all(float(row["J"]) == float(row["F"]) == 1 for row in rows)
    page = (tmp_path / "scored/report.html").read_text()
    assert "Objects overlap." in page and page.count("<figure>") >= 3
    with Image.open(tmp_path / "scored/masks/v/003/00004.png") as image:
        np.testing.assert_array_equal(np.asarray(image) > 0, ONE)
    sent = run_evaluate(Still(), config=config(), data=root, output=tmp_path / "sent")
    assert sent.code == 0, sent.err
    with zipfile.ZipFile(tmp_path / "sent/submission.zip") as archive:
        assert archive.namelist() == [
            *(f"v/003/{t:05d}.png" for t in range(5)),
            *(f"v/300/{t:05d}.png" for t in range(2, 5)),
        ]
    again = run_evaluate(Still(), config=config(), data=root, score=tmp_path / "sent/masks")
    assert again.code == 0 and "1.000" in again.out, again.err


def test_masks_that_are_missing_are_reported(root, tmp_path):
    run_evaluate(Still(), config=config(), data=root, output=tmp_path / "run")
    (tmp_path / "run/masks/v/300/00003.png").unlink()
    done = run_evaluate(Still(), config=config(), data=root, score=tmp_path / "run/masks")
    assert done.code == 2 and "v/300/00003.png: the file does not exist. 1 of 7 masks are missing." in done.err


def test_independent_objects_are_what_each_is_alone():
    """By default, objects influence each other. With `independent=True`, they do not. One id is above 255."""
    frames, _ = discs(4, HEIGHT, WIDTH)
    together = Segmenter(variables(), SMALL, winograd=False, independent=True)
    found = list(together.run(frames, {3: ONE}, {1: {300: OTHER}}))
    alone = Segmenter(variables(), SMALL, winograd=False)
    first, second = alone.run(frames, ONE), alone.run(frames[1:], OTHER)
    for t, (result, one) in enumerate(zip(found, first, strict=True), 1):
        assert result.ids.tolist() == [0, 3, 300]
        np.testing.assert_allclose(result.probs[1], one.probs[1], atol=1e-5)
        if t > 1:
            other = next(second)
            np.testing.assert_allclose(result.probs[2], other.probs[1], atol=1e-5)
            np.testing.assert_array_equal(result.mask, np.stack([one.probs[1], other.probs[1]]) > 0.5)
    assert np.array_equal(found[0].probs[2], OTHER)  # the mask of object 300 is given on this frame


def test_ids_beyond_255():
    frames, _ = discs(3, HEIGHT, WIDTH)
    segmenter = Segmenter(variables(), SMALL, winograd=False)
    small = np.where(ONE, 3, 0) + np.where(OTHER & ~ONE, 7, 0)
    wide = np.where(small == 7, 300, small).astype(np.uint16)
    for one, other in zip(segmenter.run(frames, small.astype(np.uint8)), segmenter.run(frames, wide), strict=True):
        assert np.asarray(one.mask).dtype == np.uint8 and np.asarray(other.mask).dtype == np.uint16
        np.testing.assert_array_equal(np.where(np.asarray(one.mask) == 7, np.uint16(300), one.mask), other.mask)


def test_255_is_an_id_next_to_greater_ones(tmp_path):
    """In a video with the id 300, 255 is an ordinary id, even in the two annotations that have no id above 255."""
    frames, _ = discs(4, HEIGHT, WIDTH)
    save_frames(tmp_path / "in/JPEGImages/v", frames)
    (tmp_path / "in/Annotations/v").mkdir(parents=True)
    ids = np.where(ONE, 255, 0) + np.where(OTHER & ~ONE, 300, 0)
    for t in range(4):
        kept = np.where((t in (1, 2)) & (ids == 300), 0, ids)
        Image.fromarray(kept.astype(np.uint16)).save(tmp_path / f"in/Annotations/v/{t:05d}.png")
    done = run_evaluate(data=tmp_path / "in", output=tmp_path / "run", overlays=True)
    assert done.code == 0 and "void" not in done.err, done.err
    with Image.open(tmp_path / "run/masks/v/00003.png") as image:
        np.testing.assert_array_equal(np.asarray(image), ids)
    with open(tmp_path / "run/per_frame.csv") as file:
        rows = {(row["object"], row["frame"]): float(row["J"]) for row in csv.DictReader(file)}
    assert rows == {(i, f"{t:05d}"): float(i == "255" or t == 3) for i in ("255", "300") for t in (1, 2, 3)}
