"""Tests the data set builders.

Runs the tests of TFDS, and checks counts, bytes, index and order of data sets that `build` creates.
"""

import os
import pathlib
import shutil
import tempfile

import numpy as np
import pytest
import tensorflow_datasets as tfds
from absl import flags
from tensorflow_datasets.core import shuffle

from data.davis.davis_dataset_builder import Builder as Davis
from data.image_masks.image_masks_dataset_builder import Builder as ImageMasks
from data.source import open_source
from data.youtube_vos.youtube_vos_dataset_builder import Builder as YouTubeVos
from hmmn_jax.errors import DataError
from tests.data import folders
from tests.data.builds import THREE, run, still

if not flags.FLAGS.is_parsed():
    flags.FLAGS(["test"], known_only=True)
tfds.disable_progress_bar()


class BuilderCase(tfds.testing.DatasetBuilderTestCase):
    """Runs the tests of TFDS for a builder on a generated folder."""

    EXAMPLE_DIR = tempfile.gettempdir()  # TFDS requires an existing folder
    SKIP_CHECKSUMS = True

    def __init_subclass__(cls):
        super().__init_subclass__()
        cls.EXAMPLE_DIR = tempfile.mkdtemp()

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.draw(pathlib.Path(cls.EXAMPLE_DIR))

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.EXAMPLE_DIR)
        super().tearDownClass()

    def test_session(self, *args, **options):  # not a test, but a method of TensorFlow's test case
        return super().test_session(*args, **options)

    test_session.__test__ = False

    def test_registered(self):  # the original test is slow: it imports all builders of TFDS
        assert self.builder.name == type(self).__name__.removeprefix("Test").lower()


class TestDavis(BuilderCase):
    DATASET_CLASS = Davis
    BUILDER_CONFIG_NAMES_TO_TEST = ["2017"]  # noqa: RUF012
    SPLITS = {"train": 7, "test-dev": 3}  # noqa: RUF012

    @staticmethod
    def draw(root):
        folders.davis(root, {"a": THREE, "b": [[1, 2], [2], [255], [1]]})
        folders.davis(root, {"c": [[1, 3], None, None]}, split="test-dev")


class TestYouTube_Vos(BuilderCase):
    DATASET_CLASS = YouTubeVos
    BUILDER_CONFIG_NAMES_TO_TEST = ["2019"]  # noqa: RUF012
    SPLITS = {"train": 3, "valid": 4}  # noqa: RUF012

    @staticmethod
    def draw(root):
        folders.youtube_vos(root, {"a": THREE})
        folders.youtube_vos(root, {"b": [[1], None, [1, 4], None]}, split="valid")


class TestImage_Masks(BuilderCase):
    DATASET_CLASS = ImageMasks
    BUILDER_CONFIG_NAMES_TO_TEST = ["camvid"]  # noqa: RUF012
    SPLITS = {"train": 2}  # noqa: RUF012

    @staticmethod
    def draw(root):
        for i, ids in enumerate(([9, 10, 1], [4])):
            folders.jpeg(root / "JPEGImages" / f"{i}.jpg", shade=i)
            folders.png(root / "Annotations" / f"{i}.png", folders.squares(*ids))


del BuilderCase


def test_davis_stores_every_byte_in_order(tmp_path):
    root = folders.davis(tmp_path / "in", {"b": [[1, 2], [2], [], [1]], "a": THREE})
    report = run(tmp_path, "davis", root)["train"]
    assert (report.videos, report.frames, report.annotated, report.objects, report.problems) == (2, 7, 7, 3, [])
    source = open_source("davis/2017", tmp_path / "built", "train")
    index = source.index
    assert index.videos.tolist() == ["b", "a"] and index.starts.tolist() == [0, 4, 7]
    assert index.numbers.tolist() == [0, 1, 2, 3, 0, 1, 2] and (index.sizes == folders.SIZE).all() and index.annotated.all()
    assert [index.objects(r) for r in range(5)] == [{1: 16, 2: 16}, {2: 16}, {}, {1: 16}, {1: 16}]
    images, masks = source.fetch(np.array([6, 0]))
    assert images[0] == (root / "JPEGImages/480p/a/00002.jpg").read_bytes()
    assert masks[0] == (root / "Annotations/480p/a/00002.png").read_bytes()
    assert masks[1] == (root / "Annotations/480p/b/00000.png").read_bytes()
    np.testing.assert_array_equal(index.decode(0, masks[1]), folders.squares(1, 2))


def test_davis_masks_of_0_255_and_void(tmp_path):
    root = folders.davis(tmp_path / "in", {"old": [[255], [], [255]], "void": [[1, 255], [255], [1]]})
    run(tmp_path, "davis", root)
    index = open_source("davis/2017", tmp_path / "built").index
    assert index.binary.tolist() == [True, False]
    assert [index.objects(r) for r in range(6)] == [{1: 16}, {}, {1: 16}, {1: 16}, {}, {1: 16}]
    assert index.table(0)[255] == 1 and index.table(1)[255] == 0


def test_davis_splits_years_and_resolutions(tmp_path):
    root = folders.davis(tmp_path / "in", {"a": THREE}, year="2016", resolution="240p")
    folders.davis(root, {"b": THREE}, year="2016", resolution="1080p", split="val")
    with pytest.raises(DataError, match="Specify a resolution"):
        run(tmp_path, "davis", root, "2016")
    with pytest.raises(DataError, match=r"2017 contains no list for any of the splits"):
        run(tmp_path, "davis", root, "2017_240p")
    assert list(run(tmp_path, "davis", root, "2016_240p", ("train",))) == ["train"]
    assert run(tmp_path, "davis", root, "2016_1080p", ("val",))["val"].frames == 3
    with pytest.raises(DataError, match=r"no split 'val'\. Available splits: train\. Build the data set"):
        open_source("davis/2016_240p", tmp_path / "built", "val")


def test_youtube_vos_with_all_frames(tmp_path):
    root = folders.youtube_vos(tmp_path / "in", {"v": [[2], [2, 7], [7]]}, all_frames=True)
    assert run(tmp_path, "youtube_vos", root)["train"].problems == []
    index = open_source("youtube_vos/2019", tmp_path / "built").index
    assert index.numbers.tolist() == [0, 5, 10] and [[*index.objects(r)] for r in (0, 1)] == [[2], [2, 7]]
    report = run(tmp_path, "youtube_vos", root, "2018_all_frames")["train"]
    assert (report.frames, report.annotated, report.problems) == (11, 3, [])
    index = open_source("youtube_vos/2018_all_frames", tmp_path / "built").index
    assert np.flatnonzero(index.annotated).tolist() == [0, 5, 10] and [[*index.objects(r)] for r in (0, 5)] == [[2], [2, 7]]
    assert open_source("youtube_vos/2018_all_frames", tmp_path / "built").fetch(np.array([1]))[1] == [b""]


def test_which_values_are_objects(tmp_path):
    still(tmp_path / "in", "a", folders.squares(1, 2, 7, 9, 30))
    still(tmp_path / "in", "b", folders.squares(30))
    fields = {"ids": [], "parts": ["objects=1+7-9,30"], "one_object": []}
    expected = {"ids": {1: 16, 2: 16, 7: 16, 9: 16, 30: 16}, "parts": {1: 48, 2: 16}, "one_object": {1: 80}}
    for name, found in expected.items():
        new_name = name if fields[name] else None
        run(tmp_path, "image_masks", tmp_path / "in", "ids" if new_name else name, new_name=new_name, fields=fields[name])
        index = open_source(f"image_masks/{name}", tmp_path / "built").index
        assert index.objects(0) == found and index.videos.tolist() == ["a", "b"]
    for wrong in ("objects=0", "objects=5-3", "objects=a", "objects=256", "objects=1,,2"):
        with pytest.raises(DataError, match="is not a value or range from 1 to 255"):
            run(tmp_path, "image_masks", tmp_path / "in", new_name="wrong", fields=[wrong])


def test_soft_masks(tmp_path):
    ramp = np.tile(np.arange(100, 132, dtype=np.uint8), (24, 1))  # the values in the last 4 columns are at least 128
    still(tmp_path / "in", "a_im", ramp)
    os.rename(tmp_path / "in/a_im.png", tmp_path / "in/a_gt.png")
    still(tmp_path / "in", "colour", np.repeat(ramp[..., None], 3, axis=2))
    run(tmp_path, "image_masks", tmp_path / "in", "big")
    source = open_source("image_masks/big", tmp_path / "built")
    assert [source.index.objects(r) for r in range(2)] == [{1: 96}, {1: 96}]
    for video in range(2):
        np.testing.assert_array_equal(source.index.decode(video, source.fetch([video])[1][0]), ramp >= 128)


def test_order_holds_where_records_go_through_buckets(tmp_path, monkeypatch):
    monkeypatch.setattr(shuffle, "MAX_MEM_BUFFER_SIZE", 2000)
    root = folders.davis(tmp_path / "in", {name: [[1]] * 30 for name in "ab"})
    used, add = set(), shuffle._Bucket.add
    monkeypatch.setattr(shuffle._Bucket, "add", lambda bucket, *pair: (used.add(bucket), add(bucket, *pair)))
    run(tmp_path, "davis", root)
    source = open_source("davis/2017", tmp_path / "built")
    for record in range(60):
        path = root / "JPEGImages/480p" / "ab"[record // 30] / f"{record % 30:05d}.jpg"
        assert source.fetch([record])[0][0] == path.read_bytes()
    assert len(used) > 50  # TFDS distributes the records over buckets, and sorts each bucket in memory
