"""Tests the index of a split: look-ups, decoding of masks, and invalid files."""

import io
from dataclasses import fields, replace

import numpy as np
import pytest
from PIL import Image

from data.index import Index, identity_map, load
from hmmn_jax.errors import DataError


def small_index() -> Index:
    """Returns an index of two videos.

    Video a has 3 frames. Its object 2 first appears in the second frame. Video b has 2 frames and one mask with the values
    0 and 255.
    """
    return Index(
        videos=np.array(["a", "b"]),
        starts=np.array([0, 3, 5]),
        names=np.array(["00000", "00005", "00010", "x", "y"]),
        numbers=np.array([0, 5, 10, 0, 1], np.int32),
        sizes=np.full((5, 2), 8, np.int32),
        annotated=np.array([True, True, True, True, False]),
        object_record=np.array([0, 1, 1, 2, 3], np.int32),
        object_id=np.array([1, 1, 2, 2, 1], np.uint8),
        object_area=np.array([10, 9, 4, 5, 6], np.int32),
        binary=np.array([False, True]),
        id_map=identity_map(),
        soft=np.array(False),
    )


def png(pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.array(pixels, np.uint8)).save(file, "PNG")
    return file.getvalue()


def test_look_ups():
    index = small_index()
    assert [index.video_of(record) for record in range(5)] == [0, 0, 0, 1, 1]
    assert [index.objects(record) for record in range(5)] == [{1: 10}, {1: 9, 2: 4}, {2: 5}, {1: 6}, {}]


def test_masks_by_the_table_of_their_video():
    index = small_index()
    np.testing.assert_array_equal(index.decode(0, png([[0, 1, 5, 255]])), [[0, 1, 5, 0]])
    np.testing.assert_array_equal(index.decode(1, png([[0, 255]])), [[0, 1]])
    parts = replace(index, id_map=np.where(np.arange(256) > 0, 1, 0).astype(np.uint8))
    np.testing.assert_array_equal(parts.decode(0, png([[0, 1, 5, 255]])), [[0, 1, 1, 1]])


def test_soft_masks_count_by_brightness():
    half = np.where(np.arange(256) >= 128, 1, 0).astype(np.uint8)
    index = replace(small_index(), soft=np.array(True), id_map=half)
    np.testing.assert_array_equal(index.decode(0, png([[0, 127, 128, 255]])), [[0, 0, 1, 1]])
    np.testing.assert_array_equal(index.decode(0, png([[[9, 9, 9], [200, 200, 200]]])), [[0, 1]])


def test_saved_and_loaded(tmp_path):
    small_index().save(tmp_path / "index.npz")
    loaded = load(tmp_path / "index.npz")
    for field in fields(Index):
        before, after = getattr(small_index(), field.name), getattr(loaded, field.name)
        np.testing.assert_array_equal(before, after)
        assert before.dtype == after.dtype


def test_an_index_of_an_earlier_version_has_frames_as_they_are_stored(tmp_path):
    arrays = {field.name: getattr(small_index(), field.name) for field in fields(Index) if field.name != "orientation"}
    np.savez(tmp_path / "index.npz", **arrays)
    assert load(tmp_path / "index.npz").orientation.tolist() == [1] * 5


def test_what_is_no_index(tmp_path):
    path = tmp_path / "index.npz"
    with pytest.raises(DataError, match=r"index\.npz is not a readable index: No such file.*\. Build"):
        load(path)
    small_index().save(path)
    whole = path.read_bytes()
    for broken in (b"", b"text", whole[: len(whole) // 2]):
        path.write_bytes(broken)
        with pytest.raises(DataError, match="not a readable index"):
            load(path)
    np.savez(path, videos=np.array(["a"]))
    with pytest.raises(DataError, match="starts"):
        load(path)
    np.savez(path, **{field.name: np.array([object()]) for field in fields(Index)})
    with pytest.raises(DataError, match="not a readable index"):
        load(path)
