"""Tests reading and writing the JSON files of BURST. Masks are encoded and decoded with pycocotools for comparison."""

import json

import numpy as np
import pytest
from pycocotools import mask as coco

from hmmn_jax.errors import DataError
from hmmn_jax.exports.burst import read_burst, write_burst

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # raised by pycocotools
HEIGHT, WIDTH = 30, 44
KEY = ("YFCC100M", "v_a/b")


def box(top, left):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top : top + 9, left : left + 12] = True
    return mask


def theirs(mask):
    return coco.encode(np.asfortranarray(mask, np.uint8))["counts"].decode()


@pytest.fixture
def given(tmp_path):
    """Writes a BURST file. Track 7 starts in the first annotated frame, and track 300 in the third annotated frame.

    Every second image is annotated, beginning with the second image.
    """
    frames = [f"frame{t:04d}.jpg" for t in range(8)]
    first = {"7": {"rle": theirs(box(2, 3)), "is_gt": True, "score": 1.0, "bbox": [3, 2, 12, 9], "point": [4, 4]}}
    later = {"300": {"rle": theirs(box(10, 20)), "is_gt": True, "score": 1.0}}
    sequence = {
        "id": 5,
        "width": WIDTH,
        "height": HEIGHT,
        "seq_name": KEY[1],
        "dataset": KEY[0],
        "fps": 30,
        "all_image_paths": frames,
        "annotated_image_paths": frames[1::2],
        "neg_category_ids": [],
        "not_exhaustive_category_ids": [],
        "track_category_ids": {"7": 1, "300": 2},
        "segmentations": [first, {}, later, {}],
    }
    path = tmp_path / "first_frame_annotations.json"
    path.write_text(json.dumps({"sequences": [sequence], "categories": [{"id": 1, "name": "cat"}], "split": "val"}))
    return path


def test_what_is_given(given):
    (sequence,) = read_burst(given)
    assert sequence.key == KEY and sequence.size == (HEIGHT, WIDTH) and len(sequence.frames) == 8
    found = sequence.given()
    assert {t: [*masks] for t, masks in found.items()} == {0: [], 1: [7], 5: [300]}
    np.testing.assert_array_equal(found[1][7], box(2, 3))
    np.testing.assert_array_equal(found[5][300], box(10, 20))


def test_a_result_is_the_given_file_with_other_masks(given, tmp_path):
    out = tmp_path / "result.json"
    overlap, empty = {7: box(3, 4), 300: box(5, 9)}, np.zeros((HEIGHT, WIDTH), bool)
    write_burst(out, given, {KEY: [{7: box(9, 9)}, {7: box(4, 4)}, {7: empty, 300: box(1, 1)}, overlap]})
    before, after = (json.loads(path.read_text()) for path in (given, out))
    (old,), (new,) = before.pop("sequences"), after.pop("sequences")
    assert before == after and new.keys() == old.keys()
    written = new.pop("segmentations")
    assert new == {name: value for name, value in old.items() if name != "segmentations"}
    expected = [{7: box(2, 3)}, {7: box(4, 4)}, {300: box(10, 20)}, overlap]  # given masks are copied; empty masks are omitted
    assert [[int(k) for k in frame] for frame in written] == [[*frame] for frame in expected]
    for frame, masks in zip(written, expected, strict=True):
        for k, mask in masks.items():
            counts = {"size": [HEIGHT, WIDTH], "counts": frame[str(k)]["rle"]}
            np.testing.assert_array_equal(coco.decode(counts), mask)
            assert frame[str(k)]["rle"] == theirs(mask) and frame[str(k)]["score"] == 1.0
    (again,) = read_burst(out)
    np.testing.assert_array_equal(again.masks(3)[300], overlap[300])


@pytest.mark.parametrize(
    ("results", "said"),
    [
        ({}, "the sequence YFCC100M/v_a/b has no result"),
        ({KEY: [{}] * 3}, "masks of 3 frames, expected masks of the 4 annotated frames"),
        ({KEY: [{}, {8: box(1, 1)}, {}, {}]}, "frame0003.jpg: the track 8 is unknown, expected one of [7, 300]"),
        ({KEY: [{}, {7: box(1, 1).T}, {}, {}]}, "frame0003.jpg: the mask of track 7 has the shape (44, 30), expected (30, 44)"),
    ],
)
def test_wrong_results(given, tmp_path, results, said):
    with pytest.raises(DataError) as error:
        write_burst(tmp_path / "result.json", given, results)
    assert said in str(error.value) and not (tmp_path / "result.json").exists()


def change(path, **fields):
    content = json.loads(path.read_text())
    content["sequences"][0] |= fields
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"segmentations": [{}]}, "has masks of 1 frames, expected masks of 4 annotated frames"),
        ({"annotated_image_paths": ["x.jpg"] * 4}, "has no image of the annotated frame x.jpg"),
        ({"width": None}, "contains an invalid BURST sequence"),
        ({"segmentations": [{"a": {"rle": "1"}}, {}, {}, {}]}, "contains an invalid BURST sequence"),
    ],
)
def test_wrong_files(given, fields, said):
    change(given, **fields)
    with pytest.raises(DataError) as error:
        read_burst(given)
    assert said in str(error.value)


def test_files_that_cannot_be_read(given, tmp_path):
    change(given, segmentations=[{"7": {"rle": "11"}}, {}, {}, {}])
    with pytest.raises(DataError, match=r"frame0001.jpg: a mask cannot be decoded: the runs contain 2 pixels"):
        read_burst(given)[0].given()
    for text in ("[]", "{"):
        given.write_text(text)
        with pytest.raises(DataError):
            read_burst(given)
    content = {"sequences": [], "categories": [], "split": "val"}
    given.write_text(json.dumps(content))
    assert read_burst(given) == []
