"""Tests that the builders report and skip invalid files."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from data.source import open_source
from hmmn_jax.errors import DataError
from tests.data import folders
from tests.data.builds import THREE, run, still


def test_an_id_that_never_appears_and_a_frame_that_is_not_there(tmp_path):
    root = folders.youtube_vos(tmp_path / "in", {"v": THREE})
    meta = json.loads((root / "train/meta.json").read_text())
    meta["videos"]["v"]["objects"]["3"] = {"frames": ["00005", "00077"]}
    (root / "train/meta.json").write_text(json.dumps(meta))
    images = root / "train/JPEGImages/v"
    assert run(tmp_path, "youtube_vos", root)["train"].problems == [
        f"{images}: meta.json lists the frame 00077 for object 3, but the file does not exist; this frame is ignored",
        f"{images}: object 3 of meta.json is in no mask; the object is ignored",
    ]


def test_bad_images_and_masks_are_named_and_left_out(tmp_path):
    root = tmp_path / "in"
    for name in "abcdef":
        still(root, name, folders.squares(*([1] if name != "f" else [])))
    (root / "b.jpg").write_bytes(b"no image")
    os.replace(root / "c.jpg", root / "c.png")  # a JPEG file with the name of a mask
    folders.jpeg(root / "c.jpg")
    folders.png(root / "d.png", folders.squares(1, size=(20, 32)))
    (root / "e.png").unlink()
    report = run(tmp_path, "image_masks", root)["train"]
    assert (report.videos, report.objects) == (2, 1)  # the mask of f has no object
    found = [line.removeprefix(f"{root}/") for line in report.problems]
    assert found[0] == f"e.jpg: the mask {root}/e.png does not exist; the image is skipped"
    assert found[1].startswith("b.jpg is not a decodable JPEG: ") and found[1].endswith("; the frame is skipped")
    assert found[3].startswith("c.png: the mask is in JPEG format") and found[3].endswith("; the mask is skipped")
    assert found[5] == "d.png: the mask has 32x20 pixels, but its frame has 32x24 pixels; the mask is skipped"
    assert found[2::2] == [
        f"{root}: {name} has 0 frame(s) with masks, expected at least 1; the video is skipped" for name in "bcd"
    ]


def test_bad_frames_are_named_and_the_rest_kept(tmp_path):
    root = folders.davis(tmp_path / "in", {"v": [[1]] * 8, "w": [[1], [1], None]})
    images, masks = root / "JPEGImages/480p/v", root / "Annotations/480p/v"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)).save(images / "00001.jpg")
    os.truncate(images / "00001.jpg", 3 * os.path.getsize(images / "00001.jpg") // 4)
    (images / "00002.jpg").write_bytes(b"")
    (masks / "00003.png").unlink()
    (masks / "00004.png").write_bytes(b"no image")
    folders.png(masks / "00005.png", folders.squares(1, size=(24, 31)))
    folders.png(masks / "00006.png", folders.squares(1, size=(24, 30)))
    report = run(tmp_path, "davis", root)["train"]
    assert (report.videos, report.frames, report.annotated, report.objects) == (1, 6, 3, 1)
    lines = [line.removeprefix(f"{root}/") for line in report.problems]
    assert lines[0].startswith("JPEGImages/480p/v/00001.jpg is not a decodable JPEG: image file is truncated")
    assert lines[1] == "JPEGImages/480p/v/00002.jpg is not a decodable JPEG: the file is empty; the frame is skipped"
    assert lines[2].startswith("Annotations/480p/v/00004.png: the file is not an image") and lines[2].endswith(
        "the mask is skipped"
    )
    assert lines[3].endswith("v/00005.png: the mask has 31x24 pixels, but its frame has 32x24 pixels; the mask is kept")
    assert lines[4].endswith("v/00006.png: the mask has 30x24 pixels, but its frame has 32x24 pixels; the mask is skipped")
    assert lines[5] == "JPEGImages/480p/v/00003 has no mask; the frame is kept"
    assert lines[6] == "JPEGImages/480p/w: w has 2 frame(s) with masks, expected at least 3; the video is skipped"
    assert len(lines) == 7
    index = open_source("davis/2017", tmp_path / "built").index
    assert index.numbers.tolist() == [0, 3, 4, 5, 6, 7] and index.annotated.tolist() == [1, 0, 0, 1, 0, 1]
    assert (tmp_path / "built/davis/2017/1.0.0/problems-train.txt").read_text().splitlines() == report.problems


def test_short_videos_and_those_without_an_object(tmp_path):
    root = folders.davis(tmp_path / "in", {"one": [[1]], "two": [[1], [1]], "empty": [[], [], []], "three": THREE})
    report = run(tmp_path, "davis", root)["train"]
    assert (report.videos, report.frames) == (1, 3)
    assert [line.split(": ")[1] for line in report.problems] == [
        "one has 1 frame(s) with masks, expected at least 3; the video is skipped",
        "two has 2 frame(s) with masks, expected at least 3; the video is skipped",
        "empty has no object in any mask; the video is skipped",
    ]
    assert report.summary(shown=1).splitlines() == [
        "videos: 1, frames: 3, frames with masks: 3, objects: 1",
        "  3 times: the video is skipped",
        f"  {report.problems[0]}",
        "  ... 2 more problems",
    ]


def test_nothing_good_leaves_nothing(tmp_path):
    root = folders.davis(tmp_path / "in", {"v": [[1], [1]]})
    with pytest.raises(DataError, match=r"train: no video of this split can be used: .*v has 2 frame.* with masks"):
        run(tmp_path, "davis", root)
    assert not (tmp_path / "built/davis").exists()
    (root / "JPEGImages/480p/empty").mkdir()
    (root / "ImageSets/2017/train.txt").write_text("v\nempty\n")
    with pytest.raises(DataError, match=r"480p/empty: no images"):  # a video in the list must have images
        run(tmp_path, "davis", root)
