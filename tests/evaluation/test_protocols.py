"""Tests whole evaluations, from a benchmark's data folder to the archive for its server. The segmenter repeats given masks."""

import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from configs.evaluate import custom, davis2017_testdev, davis2017_val, youtube_vos_2018, youtube_vos_2019
from hmmn_jax.errors import DataError
from hmmn_jax.evaluation.outputs import Outputs
from hmmn_jax.evaluation.predict import predict
from hmmn_jax.evaluation.protocols import Custom, make_protocol
from hmmn_jax.io.movies import MovieWriter
from tests.data.folders import davis, jpeg, png, squares, youtube_vos
from tests.evaluation.harness import Repeating


def read_task(config, root):
    return make_protocol(config).read(root)


def segment(segmenter, clips, run):
    """Segments clips, writes their masks and returns the errors."""
    outputs = Outputs(run)
    outputs.run.claim({})
    return predict([segmenter], clips, outputs)[1]


def evaluate(config, data, run):
    """Runs an evaluation. Returns the names in the zip, the errors, and the masks given to the segmenter."""
    task, segmenter = read_task(config, data), Repeating()
    failures = segment(segmenter, task.clips, run)
    task.protocol.write_submission(run / "submission.zip", run / "masks", task.clips)
    with zipfile.ZipFile(run / "submission.zip") as archive:
        names = archive.namelist()
        assert archive.testzip() is None
    return names, task.failures | failures, segmenter.given


def ids_in(run, *frame):
    return np.unique(np.asarray(Image.open(run.joinpath("masks", *frame)))).tolist()


def test_davis_testdev(tmp_path):
    """The segmenter receives only the mask of the first frame of each sequence.

    The zip contains one folder per sequence, with a mask for every frame.
    """
    root = davis(tmp_path, {"b": [[1, 2], None, None], "a": [[1], None]}, split="test-dev")
    names, failures, given = evaluate(davis2017_testdev.get_config(), root, tmp_path / "run")
    assert names == ["a/00000.png", "a/00001.png", "b/00000.png", "b/00001.png", "b/00002.png"] and failures == {}
    assert [list(masks) for masks in given] == [[0], [0]]
    assert ids_in(tmp_path / "run", "b", "00002.png") == [0, 1, 2]


@pytest.mark.parametrize("all_frames", [True, False])
def test_youtube_vos(tmp_path, all_frames):
    """The segmenter receives only the new object 7 of the second annotation. Only masks of frames in meta.json are written."""
    root = youtube_vos(tmp_path, {"v": [[2], [2, 7], None], "u": [[5], None]}, split="valid", all_frames=all_frames)
    names, failures, given = evaluate(youtube_vos_2019.get_config(), root, tmp_path / "run")
    assert names == ["Annotations/u/00000.png", "Annotations/v/00000.png", "Annotations/v/00005.png"] and failures == {}
    joins = 5 if all_frames else 1
    assert [{t: np.unique(mask).tolist() for t, mask in masks.items()} for masks in given] == [
        {0: [0, 5]},
        {0: [0, 2], joins: [0, 7]},
    ]
    assert ids_in(tmp_path / "run", "v", "00005.png") == [0, 2, 7]
    assert sorted(path.name for path in (tmp_path / "run/masks/v").iterdir()) == ["00000.png", "00005.png"]


def test_youtube_vos_with_nothing_in_the_first_frame(tmp_path):
    root = youtube_vos(tmp_path, {"v": [None, [3], None]}, split="valid")
    meta = root / "valid" / "meta.json"
    videos = json.loads(meta.read_text())
    videos["videos"]["v"]["objects"]["3"]["frames"] = ["00000", "00005", "00010"]
    meta.write_text(json.dumps(videos))
    names, failures, _ = evaluate(youtube_vos_2018.get_config(), root, tmp_path / "run")
    assert failures == {} and len(names) == 3
    assert [ids_in(tmp_path / "run", "v", f"{t:05d}.png") for t in (0, 5, 10)] == [[0], [0, 3], [0, 3]]


def test_a_zip_is_the_same_every_time_and_never_lacks_a_mask(tmp_path):
    root = davis(tmp_path, {"a": [[1], None]}, split="test-dev")
    evaluate(davis2017_testdev.get_config(), root, tmp_path / "run")
    archive = tmp_path / "run" / "submission.zip"
    before = archive.read_bytes()
    (tmp_path / "run/masks/a/surplus.png").write_bytes(b"")
    evaluate(davis2017_testdev.get_config(), root, tmp_path / "run")
    assert archive.read_bytes() == before
    archive.unlink()
    (tmp_path / "run/masks/a/00001.png").unlink()
    task = read_task(davis2017_testdev.get_config(), root)
    with pytest.raises(DataError, match=r"a/00001.png: the file does not exist. 1 of 2 masks"):
        task.protocol.write_submission(archive, tmp_path / "run" / "masks", task.clips)
    assert not archive.exists()


def test_sequences_that_cannot_be_opened_are_named_and_the_others_are_there(tmp_path):
    root = davis(tmp_path / "davis", {"a": [[1], None], "b": [None, [1]], "c": [[1], [1]]}, split="val")
    for path in (root / "Annotations/480p/c").iterdir():
        path.unlink()
    task = read_task(davis2017_val.get_config(), root)
    assert [clip.name for clip in task.clips] == ["a"] and list(task.failures) == ["b", "c"]
    assert "the first frame, 00000.jpg, has no mask" in task.failures["b"] and "no PNG" in task.failures["c"]
    root = youtube_vos(tmp_path / "youtube", {"a": [[1], None], "b": [[1]]}, split="valid")
    (root / "valid/Annotations/a/00000.png").unlink()
    task = read_task(youtube_vos_2018.get_config(), root)
    assert [clip.name for clip in task.clips] == ["b"] and "a: no PNG has the name" in task.failures["a"]


def test_own_folders_and_video_files(tmp_path):
    pytest.importorskip("av")
    jpeg(tmp_path / "JPEGImages/cat/x1.jpg")
    jpeg(tmp_path / "JPEGImages/cat/x2.jpg")
    png(tmp_path / "Annotations/cat/x1.png", squares(1))
    png(tmp_path / "Annotations/cat/x2.png", squares(1, 4))
    png(tmp_path / "Annotations/dog.png", squares(6))
    with MovieWriter(tmp_path / "JPEGImages/dog.mp4", 10) as movie:
        for _ in range(3):
            movie.write(np.zeros((24, 32, 3), np.uint8))
    config, segmenter = custom.get_config(), Repeating()
    segment(segmenter, read_task(config, tmp_path).clips, tmp_path / "run")
    assert ids_in(tmp_path / "run", "cat", "x2.png") == [0, 1] and ids_in(tmp_path / "run", "dog", "00002.png") == [0, 6]
    config.late_objects = True
    segment(segmenter, read_task(config, tmp_path).clips, tmp_path / "late")
    assert ids_in(tmp_path / "late", "cat", "x2.png") == [0, 1, 4]
    config.sequences = ("dog",)
    assert [clip.name for clip in read_task(config, tmp_path).clips] == ["dog"]
    own = [
        Custom(custom.get_config()).read_one(tmp_path / "JPEGImages/dog.mp4", tmp_path / "Annotations/dog.png"),
        Custom(custom.get_config()).read_one(tmp_path / "JPEGImages/cat", tmp_path / "Annotations/cat/x1.png"),
    ]
    assert [task.clips[0].name for task in own] == ["dog", "cat"]
    (tmp_path / "Annotations/dog.png").unlink()
    assert "dog.png: the file does not exist" in read_task(config, tmp_path).failures["dog"]


def test_what_cannot_be_chosen(tmp_path):
    config = custom.get_config()
    jpeg(tmp_path / "JPEGImages/cat/x1.jpg")
    config.sequences = ("cow",)
    with pytest.raises(DataError, match=r"expected a sequence 'cow', found cat"):
        read_task(config, tmp_path)
