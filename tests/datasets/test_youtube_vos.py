"""Tests reading YouTube-VOS folders: objects that start on later frames, ids with gaps, and missing files."""

import json
import shutil

import pytest

from hmmn_jax.datasets.youtube_vos import read_youtube_vos
from hmmn_jax.errors import DataError
from tests.data.folders import youtube_vos


@pytest.fixture
def root(tmp_path):
    return youtube_vos(tmp_path, {"b": [[1], [1, 5], [5]], "a": [[2], [2], [2]]}, all_frames=True)


def edit_meta(root, change):
    path = root / "train" / "meta.json"
    meta = json.loads(path.read_text())
    change(meta["videos"])
    path.write_text(json.dumps(meta))


def test_videos_in_order_with_the_frames_of_each_object(root):
    videos, problems = read_youtube_vos(root, "train")
    assert problems == [] and [video.name for video in videos] == ["a", "b"]
    assert videos[1].frame_names == ("00000", "00005", "00010") and list(videos[1].masks) == [0, 1, 2]
    assert videos[1].objects == {1: ("00000", "00005"), 5: ("00005", "00010")}


def test_all_frames_and_those_that_are_scored(root):
    (_, video), problems = read_youtube_vos(root, "train", all_frames=True)
    assert problems == [] and len(video.frames) == 11 and list(video.masks) == [0, 5, 10]
    assert video.masks[5].name == "00005.png" and video.frames[7].parent.parent.parent.name == "train_all_frames"
    assert video.requested_frames == ("00000", "00005", "00010")


def test_a_frame_that_only_meta_json_has(root):
    edit_meta(root, lambda videos: videos["a"]["objects"]["2"]["frames"].append("00095"))
    videos, problems = read_youtube_vos(root, "train")
    assert len(videos) == 2 and videos[0].requested_frames == ("00000", "00005", "00010")
    assert problems == [
        f"{root}/train/JPEGImages/a: meta.json lists the frame 00095 for object 2, but the file does not exist; "
        "this frame is ignored"
    ]


def test_videos_left_out_by_name(root):
    edit_meta(root, lambda videos: videos.update(gone={"objects": {}}))
    edit_meta(root, lambda videos: videos.pop("a"))
    (root / "train" / "JPEGImages" / "empty").mkdir()
    edit_meta(root, lambda videos: videos.update(empty={"objects": {}}))
    (root / "train" / "Annotations" / "b" / "00099.png").write_bytes(b"")
    videos, problems = read_youtube_vos(root, "train")
    assert [video.name for video in videos] == ["b"]
    assert len(problems) == 4
    assert problems[0].startswith(f"{root}/train/JPEGImages/a: the video is not in meta.json")
    assert problems[1].endswith("b/00099.png: the mask has no frame; the mask is skipped")
    assert "/empty: no images" in problems[2] and problems[2].endswith("the video is skipped")
    assert "/gone: no such folder" in problems[3]


def test_no_masks_leave_no_video(root):
    shutil.rmtree(root / "train" / "Annotations")
    (root / "train" / "Annotations").mkdir()
    first = r"no video has both frames and masks. The first problem is: .*Annotations/a: the folder with the masks"
    with pytest.raises(DataError, match=first):
        read_youtube_vos(root, "train")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"videos": {"a": {}}}', '{"videos": {"a": {"objects": {"x": {"frames": []}}}}}']
)
def test_a_meta_json_that_is_none(root, text):
    (root / "train" / "meta.json").write_text(text)
    with pytest.raises(DataError, match=r"meta\.json (cannot be read|is not a meta\.json).*again"):
        read_youtube_vos(root, "train")


def meta(objects, name="a"):
    return json.dumps({"videos": {name: {"objects": objects}}})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (meta({"0": {"frames": []}}), "the id is '0', expected a number from 1 to 255"),
        (meta({"-1": {"frames": []}}), "the id is '-1'"),
        (meta({"256": {"frames": []}}), "the id is '256'"),
        (meta({"1_0": {"frames": []}}), "the id is '1_0'"),
        (meta({"1": {"frames": []}, "01": {"frames": []}}), "the id 1 occurs twice"),
        ('{"videos": {"a": {"objects": {"1": {"frames": []}, "1": {"frames": []}}}}}', "the entry '1' occurs twice"),
        (meta({"1": {"frames": [0, 5]}}), "the frames of object 1 are not a list of names"),
        (meta({"1": {"frames": "00000"}}), "the frames of object 1 are not a list of names"),
        (meta({"1": {"frames": ["0\0"]}}), "is not a valid sequence name"),
        (meta({}, "../a"), "'../a' is not a valid sequence name"),
        (meta({}, "a\0"), "is not a valid sequence name"),
        ("[" * 100_000, "cannot be read: maximum recursion depth"),
    ],
)
def test_a_meta_json_with_what_cannot_be(root, text, found):
    (root / "train" / "meta.json").write_text(text)
    with pytest.raises(DataError) as caught:
        read_youtube_vos(root, "train")
    assert found in str(caught.value) and "meta.json" in str(caught.value) and "\n" not in str(caught.value)


def test_names_composed_and_decomposed_and_too_long(root):
    for kind, suffix, name in (("JPEGImages", "jpg", "e\u0301"), ("Annotations", "png", "\u00e9")):
        folder = root / "train" / kind / "b"
        (folder / f"00000.{suffix}").rename(folder / f"{name}.{suffix}")
    edit_meta(root, lambda videos: videos["b"]["objects"].update({"1": {"frames": ["\u00e9"]}, "5": {"frames": []}}))
    edit_meta(root, lambda videos: videos.update({"x" * 240: {"objects": {}}}))
    videos, problems = read_youtube_vos(root, "train")
    assert videos[1].requested_frames == ("e\u0301",) and len(videos[1].masks) == 3
    assert len(problems) == 1 and "no such folder" in problems[0]
    edit_meta(root, lambda videos: videos.update({"x" * 300: {"objects": {}}}))
    with pytest.raises(DataError, match=r"meta\.json: the name 'x+'\.\.\. has 300 bytes"):
        read_youtube_vos(root, "train")


def test_missing_folders_and_meta(root):
    with pytest.raises(DataError, match=r"valid/JPEGImages: no such folder. .* contains train"):
        read_youtube_vos(root, "valid")
    (root / "train" / "meta.json").unlink()
    with pytest.raises(DataError, match=r"meta\.json cannot be read: No such file"):
        read_youtube_vos(root, "train")
