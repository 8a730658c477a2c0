"""The builders, with the tests of TFDS and with `build`: counts, bytes, index, order, invalid files."""

import json
import os
import pathlib
import shutil
import tempfile

import numpy as np
import pytest
import tensorflow_datasets as tfds
from absl import flags
from PIL import ExifTags, Image, ImageFilter
from tensorflow_datasets.core import shuffle

from data.build import build, make_config
from data.davis.davis_dataset_builder import Builder as Davis
from data.image_masks.image_masks_dataset_builder import Builder as ImageMasks
from data.source import open_source
from data.youtube_vos.youtube_vos_dataset_builder import Builder as YouTubeVos
from hmmn_jax.errors import DataError
from tests.data import folders

if not flags.FLAGS.is_parsed():
    flags.FLAGS(["test"], known_only=True)
tfds.disable_progress_bar()

THREE = [[1], [1], [1]]


class BuilderCase(tfds.testing.DatasetBuilderTestCase):
    """The tests of TFDS for a builder, with a generated folder."""

    EXAMPLE_DIR = tempfile.gettempdir()  # TFDS needs an existing folder
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

    def test_session(self, *args, **options):  # a test class of TensorFlow, without tests
        return super().test_session(*args, **options)

    test_session.__test__ = False

    def test_registered(self):  # importing all builders of TFDS takes longer than all tests of this file
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


def run(tmp_path, name, source, config=None, splits=(), new_name=None, fields=(), **options):
    config = make_config(
        name, config or {"davis": "2017", "youtube_vos": "2019", "image_masks": "ids"}[name], new_name, list(fields)
    )
    directory, reports = build(name, config, source, tmp_path / "built", splits, **options)
    assert directory == tmp_path / "built" / name / config.name / "1.0.0"
    return reports


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


def test_videos_of_users_without_lists(tmp_path):
    root = folders.davis(tmp_path / "in", {"a": THREE, "b": [[1, 2], None, None]}, resolution=".")
    shutil.rmtree(root / "ImageSets")
    report = run(tmp_path, "davis", root, "folder", splits=("val",))["val"]
    assert (report.videos, report.frames, report.annotated, report.objects) == (2, 6, 4, 3)
    assert run(tmp_path, "davis", root, "folder", overwrite=True)["train"].problems == [
        f"{root}/JPEGImages/b: b has 1 frame(s) with masks, expected at least 3; the video is skipped"
    ]


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


def still(root, name, mask, size=folders.SIZE):
    folders.jpeg(root / f"{name}.jpg", size=size)
    folders.png(root / f"{name}.png", mask, palette=False)


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
    ramp = np.tile(np.arange(100, 132, dtype=np.uint8), (24, 1))  # the last 4 columns are 128 or more
    still(tmp_path / "in", "a_im", ramp)
    os.rename(tmp_path / "in/a_im.png", tmp_path / "in/a_gt.png")
    still(tmp_path / "in", "colour", np.repeat(ramp[..., None], 3, axis=2))
    run(tmp_path, "image_masks", tmp_path / "in", "big")
    source = open_source("image_masks/big", tmp_path / "built")
    assert [source.index.objects(r) for r in range(2)] == [{1: 96}, {1: 96}]
    for video in range(2):
        np.testing.assert_array_equal(source.index.decode(video, source.fetch([video])[1][0]), ramp >= 128)


def test_bad_images_and_masks_are_named_and_left_out(tmp_path):
    root = tmp_path / "in"
    for name in "abcdef":
        still(root, name, folders.squares(*([1] if name != "f" else [])))
    (root / "b.jpg").write_bytes(b"no image")
    os.replace(root / "c.jpg", root / "c.png")  # a JPEG with the name of a mask
    folders.jpeg(root / "c.jpg")
    folders.png(root / "d.png", folders.squares(1, size=(20, 32)))
    (root / "e.png").unlink()
    report = run(tmp_path, "image_masks", root)["train"]
    assert (report.videos, report.objects) == (2, 1)  # f shows no object
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
        "  ... 2 more",
    ]


def test_nothing_good_leaves_nothing(tmp_path):
    root = folders.davis(tmp_path / "in", {"v": [[1], [1]]})
    with pytest.raises(DataError, match=r"train: no video of this split can be used: .*v has 2 frame.* with masks"):
        run(tmp_path, "davis", root)
    assert not (tmp_path / "built/davis").exists()
    (root / "JPEGImages/480p/empty").mkdir()
    (root / "ImageSets/2017/train.txt").write_text("v\nempty\n")
    with pytest.raises(DataError, match=r"480p/empty: no images"):  # files of a list must exist
        run(tmp_path, "davis", root)


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
    assert len(used) > 50  # each is sorted in memory, so a single one would contain the whole data set


def own_set(root, names="v", frames=3):
    folders.davis(root, {name: [[1]] * frames for name in names}, resolution=".")
    shutil.rmtree(root / "ImageSets")
    return root


def test_frames_are_stored_as_they_are_and_compared_upright(tmp_path):
    root = own_set(tmp_path / "in", frames=5)
    for t, orientation in ((1, 6), (2, 3), (3, 8)):
        path, exif = root / f"JPEGImages/v/{t:05d}.jpg", Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        size = folders.SIZE if orientation == 3 else folders.SIZE[::-1]
        Image.new("RGB", size[::-1]).save(path, exif=exif)
    folders.png(root / "Annotations/v/00003.png", folders.squares(1, size=folders.SIZE[::-1]))
    report = run(tmp_path, "davis", root, "folder")["train"]
    assert report.problems == [
        f"{root}/Annotations/v/00003.png: the mask has 24x32 pixels, but its frame has 32x24 pixels when rotated upright "
        "according to its EXIF orientation 8. Draw masks on the upright frame; the mask is skipped"
    ]
    (line,) = report.notes.lines()
    assert "EXIF" in line and line.endswith(f"(such as {root}/JPEGImages/v/00001.jpg, orientation 6)")
    source = open_source("davis/folder", tmp_path / "built")
    assert source.index.orientation.tolist() == [1, 6, 3, 8, 1] and (source.index.sizes == folders.SIZE).all()
    assert source.fetch([1])[0][0] == (root / "JPEGImages/v/00001.jpg").read_bytes()


def test_own_masks_of_levels_and_with_255(tmp_path):
    root = own_set(tmp_path / "in", frames=6)
    sharp = Image.new("L", (32, 24))
    sharp.paste(255, (8, 6, 24, 18))
    levels = np.asarray(sharp.filter(ImageFilter.GaussianBlur(1)))
    void = folders.squares(1, 255)
    for t, mask in ((3, levels), (4, void)):
        folders.png(root / f"Annotations/v/{t:05d}.png", mask, palette=False)
    report = run(tmp_path, "davis", root, "folder")["train"]
    (problem,) = report.problems
    assert problem.startswith(f"{root}/Annotations/v/00003.png: ") and "mask_values=threshold" in problem
    assert report.notes.lines() == [
        f"the value 255 next to other ids is treated as void, not as an object: "
        f"16 pixels in 1 of 5 masks (such as {root}/Annotations/v/00004.png)"
    ]
    run(tmp_path, "davis", root, "folder", new_name="ids", fields=["mask_values=ids"])
    run(tmp_path, "davis", root, "folder", new_name="soft", fields=["mask_values=threshold"])
    objects = [open_source(f"davis/{name}", tmp_path / "built").index.objects(3) for name in ("folder", "ids", "soft")]
    assert [sorted(found) for found in objects] == [[], sorted({*levels.ravel().tolist()} - {0, 255}), [1]]
    assert objects[2][1] == (levels >= 128).sum()


def test_fields_of_own_sets(tmp_path):
    root = own_set(tmp_path / "in", "abc")
    report = run(tmp_path, "davis", root, "folder", new_name="two", fields=["sequences=c, a"])["train"]
    assert (report.videos, report.frames) == (2, 6)
    with pytest.raises(DataError, match=r"no sequence 'x'. It contains a, b, c"):
        run(tmp_path, "davis", root, "folder", new_name="x", fields=["sequences=a,x"])
    for name, old in (("1.5", "00000"), ("1.25", "00001"), ("10.0", "00002")):
        for kind, suffix in (("JPEGImages", "jpg"), ("Annotations", "png")):
            (root / f"{kind}/a/{old}.{suffix}").rename(root / f"{kind}/a/{name}.{suffix}")
    fields = ["sequences=a"]
    with pytest.raises(DataError, match="order=natural"):
        run(tmp_path, "davis", root, "folder", new_name="y", fields=fields)
    for order, names in (("decimal", ["1.25", "1.5", "10.0"]), ("natural", ["1.5", "1.25", "10.0"])):
        run(tmp_path, "davis", root, "folder", new_name=order, fields=[*fields, f"order={order}"])
        index = open_source(f"davis/{order}", tmp_path / "built").index
        assert index.names.tolist() == names and index.numbers.tolist() == [0, 1, 2]


def test_formats_that_cannot_be_built_are_named(tmp_path):
    root = own_set(tmp_path / "in", frames=4)
    for path in (root / "JPEGImages/v").iterdir():
        Image.open(path).save(path.with_suffix(".png"))
        path.unlink()
    with pytest.raises(DataError, match=r"00000\.png .*the file format is PNG, but frames must be JPEGs\. Convert") as told:
        run(tmp_path, "davis", root, "folder")
    assert " at 0x" not in f"{told.value}"
    root = own_set(tmp_path / "masks")
    for path in (root / "Annotations/v").iterdir():
        path.rename(path.with_suffix(".jpg"))
    with pytest.raises(DataError, match=r"Annotations/v: .*Masks must be PNGs"):
        run(tmp_path, "davis", root, "folder")


def test_names_that_cannot_be_folders(tmp_path):
    for name in ("", "..", "a/b", "/a"):
        with pytest.raises(DataError, match="is not a valid sequence name"):
            make_config("davis", "folder", name, [])
    with pytest.raises(DataError, match="is not a valid sequence name"):
        make_config("davis", "2017_../..", None, [])
    with pytest.raises(DataError, match=r"--split '\.\.'"):
        run(tmp_path, "davis", tmp_path, "folder", splits=("..",))


def test_fields_that_do_nothing_are_rejected():
    for config, fields in (
        ("salient", ["objects=1"]),
        ("one_object", ["mask_values=ids"]),
        ("ids", ["masks=m"]),
        ("ids", ["soft=true", "soft=false"]),
        ("ids", ["mask_values=half"]),
    ):
        with pytest.raises(DataError, match=rf"--set {fields[-1]}"):
            make_config("image_masks", config, "x", fields)


def test_names_that_are_not_there(tmp_path):
    for config, name, fields, text in (
        ("2018", None, [], r"no config '2018', expected one of 2017, 2016, folder"),
        ("2017", None, ["year=2016"], "Pass a new name with --as"),
        ("2017", "2016", ["year=2016"], "Pass a new name with --as. These names are in use: 2017, 2016"),
        ("2017", "x", ["yaer=2016"], "--set yaer=2016: expected FIELD=VALUE, where FIELD is one of year, resolution"),
        ("2017", "x", ["year"], "--set year: expected"),
    ):
        with pytest.raises(DataError, match=text):
            make_config("davis", config, name, fields)
    with pytest.raises(DataError, match="expected true or false"):
        make_config("image_masks", "ids", "x", ["soft=1"])
    with pytest.raises(DataError, match="gone is not an existing folder"):
        run(tmp_path, "davis", tmp_path / "gone")
