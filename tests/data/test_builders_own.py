"""Tests building data sets from a user's own videos, and the fields of the build configs."""

import shutil

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageFilter

from data.build import make_config
from data.source import open_source
from hmmn_jax.errors import DataError
from tests.data import folders
from tests.data.builds import THREE, run


def test_videos_of_users_without_lists(tmp_path):
    root = folders.davis(tmp_path / "in", {"a": THREE, "b": [[1, 2], None, None]}, resolution=".")
    shutil.rmtree(root / "ImageSets")
    report = run(tmp_path, "davis", root, "folder", splits=("val",))["val"]
    assert (report.videos, report.frames, report.annotated, report.objects) == (2, 6, 4, 3)
    assert run(tmp_path, "davis", root, "folder", overwrite=True)["train"].problems == [
        f"{root}/JPEGImages/b: b has 1 frame(s) with masks, expected at least 3; the video is skipped"
    ]


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
        f"the value 255 in videos with other ids is treated as void, not as an object: "
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
