"""Tests evaluation errors that are caused by videos, masks, folders, settings and flags."""

import json
import os
from pathlib import Path

import pytest

from configs.evaluate import custom, davis2017_testdev, youtube_vos_2019
from hmmn_jax.io.movies import MovieWriter
from tests.data.folders import davis as davis_folder
from tests.evaluation.harness import (
    Repeating,
    contents,
    discs,
    run_evaluate,
    save_ids,
    save_video,
)


@pytest.mark.parametrize(("numbers", "said"), [([0, 9], "frames beyond the end"), ([1, 5], "numbered from 1")])
def test_masks_of_frames_that_a_video_has_not(tmp_path, numbers, said):
    pytest.importorskip("av")
    frames, masks = discs()
    (tmp_path / "in/JPEGImages").mkdir(parents=True)
    with MovieWriter(tmp_path / "in/JPEGImages/v.mp4", 30) as movie:
        for frame in frames:
            movie.write(frame)
    for t in numbers:
        save_ids(tmp_path / f"in/Annotations/v/{t:05d}.png", masks[0])
    done = run_evaluate(fields={"late_objects": True}, data=tmp_path / "in", output=tmp_path / "run")
    assert said in done.err and done.code == (0 if 0 in numbers else 2)


def test_no_video_at_all(tmp_path):
    for folder in ("JPEGImages", "Annotations"):
        (tmp_path / "valid" / folder).mkdir(parents=True)
    (tmp_path / "valid/meta.json").write_text('{"videos": {}}')
    done = run_evaluate(config=youtube_vos_2019.get_config(), data=tmp_path, output=tmp_path / "run")
    assert done.code == 2 and "no videos to segment" in done.err and not (tmp_path / "run").exists()


def youtube_vos_folder(root, objects):
    """Writes a YouTube-VOS folder with one video. In meta.json, the list of frames of the only object is `objects`."""
    frames, masks = discs(3)
    save_video(root / "valid", "v", frames, {0: masks[0]})
    (root / "valid/meta.json").write_text(json.dumps({"videos": {"v": {"objects": {"1": {"frames": objects}}}}}))
    return root


def test_a_video_of_which_no_frame_is_requested(tmp_path):
    root = youtube_vos_folder(tmp_path / "in", [])
    done = run_evaluate(config=youtube_vos_2019.get_config(), data=root, output=tmp_path / "run")
    assert done.code == 2 and "v: no mask of this sequence is requested" in done.err and not (tmp_path / "run/masks").exists()


def test_masks_of_youtube_vos_cannot_be_scored(tmp_path):
    root = youtube_vos_folder(tmp_path / "in", ["00000", "00002"])
    save_ids(tmp_path / "pred/v/00000.png", discs(3)[1][0])
    done = run_evaluate(config=youtube_vos_2019.get_config(), data=root, score=tmp_path / "pred")
    assert done.code == 2 and "nothing can be scored" in done.err and "Traceback" not in done.err


def test_a_folder_and_a_video_of_one_name(tmp_path):
    frames, masks = discs(3)
    save_video(tmp_path / "in", "v", frames, masks)
    save_video(tmp_path / "in", "w", frames, masks)
    (tmp_path / "in/JPEGImages/v.mp4").write_bytes(b"")
    done = run_evaluate(data=tmp_path / "in", output=tmp_path / "run")
    assert done.code == 1 and "v.mp4: another video also has the name v. Rename one" in done.err
    assert {path.name for path in (tmp_path / "run/masks").iterdir()} == {"w"}


def test_a_name_that_an_archive_cannot_hold(tmp_path):
    root = davis_folder(tmp_path / "in", {"v": [[1], None], "w": [[1], None]}, split="test-dev")
    frame = root / "JPEGImages/480p/w/00001.jpg"
    os.rename(frame, os.fsencode(frame.parent) + b"/\xff1.jpg")
    done = run_evaluate(config=davis2017_testdev.get_config(), data=root, output=tmp_path / "run")
    said = "the name is not valid UTF-8, but archives require UTF-8 names. Rename the file or folder."
    assert done.code == 1 and said in done.err
    assert {path.name for path in (tmp_path / "run/masks").iterdir()} == {"v"}


def test_a_later_annotation_that_cannot_be_read_next_to_a_good_first_mask(tmp_path):
    frames, masks = discs(3)
    save_video(tmp_path / "in", "v", frames, masks)
    (tmp_path / "in/Annotations/v/00002.png").write_bytes(b"no picture")
    done = run_evaluate(data=tmp_path / "in", output=tmp_path / "run")
    assert (tmp_path / "run/masks/v/00002.png").is_file()
    assert "1 mask that cannot be read" in done.err and "00002.png" in done.err


def test_masks_that_belong_to_nothing_are_reported(own, tmp_path):
    _, masks = discs(objects=2)
    for name in ("c/00000", "c/00001"):
        save_ids(own / f"Annotations/{name}.png", masks[0])
    for name, t in [("a", t) for t in range(5)] + [("b", t) for t in range(5)] + [("a", 9), ("d", 0)]:
        save_ids(tmp_path / f"pred/{name}/{t:05d}.png", masks[min(t, 4)])
    done = run_evaluate(data=own, score=tmp_path / "pred")
    assert done.code == 0, done.err
    assert f"some masks are skipped: 1 folder without a video ({own}/Annotations/c)" in done.err
    assert f"1 folder without a video ({tmp_path}/pred/d)" in done.err
    assert f"1 mask without a frame in their video ({tmp_path}/pred/a/00009.png)" in done.err


def test_memory_and_disk_errors_are_one_line_each(own, tmp_path):
    class Full(Repeating):
        def run(self, frames, mask, later=None):
            raise MemoryError

    done = run_evaluate(Full(), data=own, output=tmp_path / "run")
    lines = done.err.splitlines()
    assert done.code == 2 and "no video is complete" in lines[-3] and all("MemoryError" in line for line in lines[-2:])
    assert not contents(tmp_path / "run")


def test_a_folder_that_cannot_be_made(own, tmp_path):
    (tmp_path / "file").write_text("the user's")
    done = run_evaluate(data=own, output=tmp_path / "file" / "run")
    assert done.code == 2 and "cannot be written" in done.err and done.err.count("\n") == 1
    done = run_evaluate(data=own, output=tmp_path / "file")
    assert done.code == 2 and "this path is a file. Pass an output folder." in done.err


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("protocol", "davies", "expected one of burst, custom, davis"),
        ("dtype", "half", "expected bfloat16, float32, float64"),
        ("mem_every", 0, "expected 1 or more"),
        ("max_memory_frames", -1, "expected 0 for the default, or 1 or more"),
        ("objects_per_batch", -1, "expected 0"),
        ("size", 7, "expected 0, or 16 to"),
        ("scales", (), "expected factors"),
        ("scales", (0.0,), "expected factors"),
        ("scales", ("x",), "expected factors"),
        ("fps", float("nan"), "expected 0, or 0.01 to 1000"),
        ("fps", -1.0, "expected 0, or 0.01 to 1000"),
        ("order", "reverse", "expected one of natural, decimal, signed, name"),
        ("mask_values", "soft", "expected one of ids, threshold"),
        ("submission", "{x}", "expected a pattern such as {sequence}/{frame}.png"),
        ("submission", "{sequence}.png", "expected a pattern such as {sequence}/{frame}.png"),
        ("submission", "../{sequence}/{frame}.png", "expected a pattern such as"),
        ("submission", "{", "expected a pattern such as"),
        ("sequences", (1,), "expected names"),
    ],
)
def test_a_field_that_cannot_work_is_named_before_anything_is_read(tmp_path, field, value, said):
    done = run_evaluate(fields={field: value}, data=tmp_path / "nowhere", output=tmp_path / "run")
    assert done.code == 2 and f"config.{field} is" in done.err and said in done.err and done.err.count("\n") == 1


def test_a_config_of_something_else_and_fields_of_other_types(tmp_path):
    config = custom.get_config().unlock()
    with config.ignore_type():
        config.size = "480"
    done = run_evaluate(config=config, data=tmp_path, output=tmp_path / "run")
    assert done.code == 2 and done.err == "evaluate.py: config.size is '480', expected int\n"
    del config.size
    done = run_evaluate(config=config, data=tmp_path, output=tmp_path / "run")
    assert done.code == 2 and "config.size is missing. Start from an evaluation config" in done.err


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({}, "either --data ROOT"),
        ({"data": "x", "frames": "y"}, "either --data ROOT"),
        ({"frames": "x", "output": "r"}, "--frames needs --mask"),
        ({"data": "x", "mask": "m", "output": "r"}, "--mask needs --frames"),
        ({"data": "x", "output": "r", "checkpoint": None}, "--checkpoint is missing"),
        ({"data": "x"}, "--output is missing"),
        # pathlib changes gs://b/run to gs:/b/run. Version 0.1 used this path as a local folder.
        ({"data": "x", "output": "gs:/b/run"}, "Pass gs://b/run"),
        ({"data": "x", "score": "nowhere"}, "nowhere is not an existing folder"),
        ({"frames": "x", "mask": "m", "score": "p"}, "--score reads existing masks"),
        ({"data": "x", "score": ".", "step": "best"}, "--step needs --checkpoint"),
        ({"data": "x", "score": ".", "movie": "gif"}, "cannot be combined with --score"),
    ],
)
def test_flags_that_do_not_go_together(tmp_path, monkeypatch, request_, said):
    monkeypatch.chdir(tmp_path)
    done = run_evaluate(**request_)
    assert done.code == 2 and said in done.err and done.err.count("\n") == 1 and not any(Path().iterdir())
