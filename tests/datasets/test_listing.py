"""Tests `list_frames`, which lists a folder of images in natural order."""

import os
import shutil

import pytest

from hmmn_jax.datasets.listing import list_frames
from hmmn_jax.errors import DataError
from hmmn_jax.io.notes import Notes


def touch(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"")


class TestListFrames:
    @pytest.mark.parametrize(
        "names",
        [
            ["frame_1.jpg", "frame_2.jpg", "frame_10.jpg"],
            ["9.png", "10.png", "100.png"],
            ["a1_2.jpg", "a1_10.jpg", "a2_1.jpg"],
            ["00000.jpg", "00001.JPG", "00002.jpeg"],
            ["1.png", "a.png", "b.png"],
        ],
    )
    def test_natural_order(self, tmp_path, names):
        touch(tmp_path, *reversed(names))
        assert [path.name for path in list_frames(tmp_path)] == names

    def test_only_visible_images_count(self, tmp_path):
        touch(tmp_path, "1.jpg", "._1.jpg", ".2.png", "Thumbs.db", "notes.txt", "boxes.json")
        (tmp_path / "3.png").mkdir()
        assert list_frames(tmp_path) == (tmp_path / "1.jpg",)

    def test_what_is_left_out_is_reported(self, tmp_path):
        touch(tmp_path, "1.jpg", ".DS_Store", "._1.jpg", "notes.txt", "2.heic", "3.GIF")
        (tmp_path / "4.png").mkdir()
        os.mkfifo(tmp_path / "5.jpg")
        (tmp_path / "old").symlink_to("gone")
        notes = Notes()
        assert list_frames(tmp_path, notes=notes) == (tmp_path / "1.jpg",)
        (line,) = notes.lines()
        parts = [
            f"2 hidden (such as {tmp_path}/.DS_Store)",
            f"2 images in an unsupported format (such as {tmp_path}/2.heic)",
            f"1 folder ({tmp_path}/4.png)",
            f"1 file of a special type ({tmp_path}/5.jpg)",
            f"1 file other than images ({tmp_path}/notes.txt)",
            f"1 link without a target ({tmp_path}/old)",
        ]
        assert line == f"some files are skipped: {', '.join(parts)}"

    def test_links(self, tmp_path):
        touch(tmp_path / "store", "0.jpg", "1.jpg")
        (tmp_path / "seq").mkdir()
        for i in range(4):
            (tmp_path / "seq" / f"{i}.jpg").symlink_to(tmp_path / "store" / f"{i}.jpg")
        with pytest.raises(
            DataError, match=r"seq/2\.jpg: the path is a link to .*store/2\.jpg, which does not exist. 2 of 4 files cannot"
        ):
            list_frames(tmp_path / "seq")
        touch(tmp_path / "store", "2.jpg", "3.jpg")
        assert len(list_frames(tmp_path / "seq")) == 4
        (tmp_path / "clip").symlink_to("gone")
        with pytest.raises(DataError, match=r"clip: the path is a link to gone, which does not exist"):
            list_frames(tmp_path / "clip")

    def test_only_pictures_of_other_kinds(self, tmp_path):
        touch(tmp_path, "1.heic", "2.heic", "3.gif", "notes.txt")
        with pytest.raises(DataError, match=r"no images in a supported format, found 2 \.heic, 1 \.gif. Convert"):
            list_frames(tmp_path)

    def test_the_mask_under_every_name(self, tmp_path, monkeypatch):
        touch(tmp_path / "clip", "1.jpg", "2.jpg")
        (tmp_path / "clip" / "m.png").write_bytes(b"mask")
        shutil.copy(tmp_path / "clip" / "m.png", tmp_path / "clip" / "m copy.png")
        (tmp_path / "clip" / "n.png").symlink_to("m.png")
        (tmp_path / "link").symlink_to("clip")
        monkeypatch.chdir(tmp_path / "clip")
        for mask in ("m.png", "../clip/m.png", tmp_path / "link" / "m.png", "n.png", "m copy.png"):
            notes = Notes()
            assert [path.name for path in list_frames(tmp_path / "clip", mask, notes=notes)] == ["1.jpg", "2.jpg"]
            assert sum(len(examples) for examples in notes.topics["some files are skipped"].values()) == 3

    def test_a_name_composed_and_decomposed(self, tmp_path):
        touch(tmp_path, "e\u0301.jpg", "\u00e9.png")
        with pytest.raises(DataError, match=r"both .* and .* are in this folder"):
            list_frames(tmp_path)

    def test_home(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        touch(tmp_path / "clip", "1.jpg", "m.png")
        assert list_frames("~/clip", "~/clip/m.png") == (tmp_path / "clip" / "1.jpg",)

    def test_a_mask_among_the_frames_can_be_left_out(self, tmp_path, monkeypatch):
        touch(tmp_path, "1.jpg", "1.png", "2.jpg")
        assert [path.name for path in list_frames(tmp_path, exclude=tmp_path / "1.png")] == ["1.jpg", "2.jpg"]
        monkeypatch.chdir(tmp_path)
        assert [path.name for path in list_frames(".", exclude="1.png")] == ["1.jpg", "2.jpg"]
        with pytest.raises(DataError, match=r"both 1\.jpg and 1\.png"):
            list_frames(tmp_path)

    def test_no_images_no_folder(self, tmp_path):
        touch(tmp_path / "seq", "notes.txt")
        with pytest.raises(DataError, match=r"no images were found. .* contains notes\.txt. Frames"):
            list_frames(tmp_path / "seq")
        with pytest.raises(DataError, match=r"no such folder. .* contains seq. Pass"):
            list_frames(tmp_path / "sequence")
        with pytest.raises(DataError, match="a file, not a folder"):
            list_frames(tmp_path / "seq" / "notes.txt")
