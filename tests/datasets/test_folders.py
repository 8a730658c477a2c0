"""Tests reading folders in all layouts of DAVIS. The images are empty files, because no test opens them."""

import os

import pytest

from hmmn_jax.datasets.davis import list_davis_splits, read_davis
from hmmn_jax.datasets.folders import find_unlisted, read_folder, read_sequence, read_unlisted
from hmmn_jax.errors import ConfigError, DataError
from hmmn_jax.io.notes import Notes


def make(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"")


def make_sequence(root, name, frames, masks, resolution="480p", annotations="Annotations"):
    make(root, *(f"JPEGImages/{resolution}/{name}/{i:05d}.jpg" for i in frames))
    make(root, *(f"{annotations}/{resolution}/{name}/{i:05d}.png" for i in masks))


def write_list(root, path, *lines):
    make(root, f"ImageSets/{path}")
    (root / "ImageSets" / path).write_text("".join(f"{line}\n" for line in lines))


def pair(name, i, resolution="480p"):
    return f"/JPEGImages/{resolution}/{name}/{i:05d}.jpg /Annotations/{resolution}/{name}/{i:05d}.png"


@pytest.fixture
def davis(tmp_path):
    make_sequence(tmp_path, "swan", range(3), range(3))
    make_sequence(tmp_path, "bear", range(4), [0])
    write_list(tmp_path, "2017/val.txt", "swan", "bear")
    return tmp_path


def raises(*parts):
    return pytest.raises(DataError, match=".*".join(parts))


class TestReadDavis:
    @pytest.mark.parametrize("year", [2017, "2017"])
    def test_names_2017(self, davis, year):
        swan, bear = read_davis(davis, year, "val")
        assert (swan.name, bear.name) == ("swan", "bear")
        assert bear.frames == tuple(davis / f"JPEGImages/480p/bear/0000{i}.jpg" for i in range(4))
        assert bear.frame_names == ("00000", "00001", "00002", "00003")
        assert swan.masks == {i: davis / f"Annotations/480p/swan/0000{i}.png" for i in range(3)}
        assert bear.masks == {0: davis / "Annotations/480p/bear/00000.png"}

    def test_pairs_2016(self, davis):
        write_list(davis, "480p/train.txt", *(pair("bear", i) for i in range(4)), *(pair("swan", i) for i in range(3)))
        bear, swan = read_davis(davis, 2016, "train")
        assert (bear.name, len(bear.frames), list(bear.masks)) == ("bear", 4, [0])
        assert (swan.name, len(swan.frames), list(swan.masks)) == ("swan", 3, [0, 1, 2])

    def test_pairs_choose_frames_and_masks_move_along(self, davis):
        write_list(davis, "2017/some.txt", pair("swan", 1), pair("swan", 2))
        (swan,) = read_davis(davis, 2017, "some")
        assert swan.frame_names == ("00001", "00002")
        assert {i: path.stem for i, path in swan.masks.items()} == {0: "00001", 1: "00002"}

    def test_a_list_by_resolution_never_stands_for_that_of_2017(self, davis):
        write_list(davis, "480p/train.txt", pair("bear", 0))
        with raises(r"2017/train\.txt: no such list", r"2017/val\.txt, 480p/train\.txt"):
            read_davis(davis, 2017, "train")

    def test_lists_of_windows_with_blank_lines(self, davis):
        (davis / "ImageSets/2017/val.txt").write_bytes(b"\xef\xbb\xbfswan\r\n\r\nbear \r\n")
        assert [sequence.name for sequence in read_davis(davis, 2017, "val")] == ["swan", "bear"]

    def test_other_annotations_and_names(self, davis):
        make_sequence(davis, "swan", [], [1], annotations="Annotations_0_255")
        with raises("Annotations_0_255/480p/bear: no such folder of masks", "contains swan"):
            read_davis(davis, 2017, "val", annotations="Annotations_0_255")
        (swan,) = read_davis(davis, 2017, "val", annotations="Annotations_0_255", names=["swan"])
        assert swan.masks == {1: davis / "Annotations_0_255/480p/swan/00001.png"}
        with raises("no sequence 'cow'", "It contains swan, bear"):
            read_davis(davis, 2017, "val", names=["cow"])

    def test_resolutions(self, davis):
        make_sequence(davis, "swan", range(2), [0], resolution="1080p")
        make_sequence(davis, "bear", range(2), [0], resolution="1080p")
        assert "480p" in read_davis(davis, 2017, "val")[0].frames[0].parts
        assert "1080p" in read_davis(davis, 2017, "val", resolution="1080p")[0].frames[0].parts
        with raises("JPEGImages/240p/swan: no such folder", "contains 1080p, 480p"):
            read_davis(davis, 2017, "val", resolution="240p")

    def test_the_only_resolution_or_none_that_can_be_guessed(self, tmp_path):
        make_sequence(tmp_path, "swan", [0], [0], resolution="288p")
        write_list(tmp_path, "2017/val.txt", "swan")
        assert "288p" in read_davis(tmp_path, 2017, "val")[0].frames[0].parts
        make_sequence(tmp_path, "swan", [0], [0], resolution="1080p")
        with raises("found 1080p, 288p", "Specify a resolution"):
            read_davis(tmp_path, 2017, "val")

    def test_what_can_be_missing(self, davis):
        with raises("nowhere/JPEGImages: no such folder", "Pass the root"):
            read_davis(davis / "nowhere", 2017, "val")
        write_list(davis, "2017/more.txt", "swan", "cow")
        with raises("480p/cow: no such folder", "contains bear, swan"):
            read_davis(davis, 2017, "more")
        write_list(davis, "2017/pairs.txt", pair("swan", 0), pair("swan", 7))
        with raises(r"pairs\.txt: 1 frames in the list are missing from", "swan, such as 00007"):
            read_davis(davis, 2017, "pairs")
        (davis / "JPEGImages/480p/empty").mkdir()
        write_list(davis, "2017/empties.txt", "empty")
        with raises("480p/empty: no images"):
            read_davis(davis, 2017, "empties")

    @pytest.mark.parametrize(
        "line", ["../../secret", "a\\b", "..", "/JPEGImages/480p/swan", "a\0b", "/JPEGImages/480p/../0.jpg /a/0.png"]
    )
    def test_lists_name_sequences_not_places(self, davis, line):
        write_list(davis, "2017/odd.txt", "swan", line)
        with raises(r"odd\.txt: line 2"):
            read_davis(davis, 2017, "odd")

    def test_empty_and_binary_lists(self, davis):
        write_list(davis, "2017/empty.txt", "")
        with raises("the list is empty"):
            read_davis(davis, 2017, "empty")
        (davis / "ImageSets/2017/binary.txt").write_bytes(b"\xff\xfe\x00\x81")
        with raises("cannot be read"):
            read_davis(davis, 2017, "binary")


class TestReadSequence:
    def test_without_a_list(self, davis):
        assert read_sequence(davis, "swan", "480p") == read_davis(davis, 2017, "val")[0]

    def test_files_that_are_no_masks_do_not_count(self, davis):
        make(davis, "Annotations/480p/bear/00001.json", "Annotations/480p/bear/00009.png")
        assert list(read_sequence(davis, "bear", "480p").masks) == [0]

    def test_other_masks_are_reported(self, davis):
        make(davis, "Annotations/480p/bear/00001.json", "Annotations/480p/bear/00009.png")
        notes = Notes()
        read_sequence(davis, "bear", "480p", notes=notes)
        (line,) = notes.lines()
        folder = davis / "Annotations/480p/bear"
        assert (
            f"1 file other than PNGs ({folder}/00001.json), 1 mask without a frame of the same name ({folder}/00009.png)"
            in line
        )

    def test_names_composed_and_decomposed(self, davis):
        make(davis, "JPEGImages/480p/cow/e\u03010.jpg", "Annotations/480p/cow/\u00e90.png")
        write_list(davis, "2017/cow.txt", "/JPEGImages/480p/cow/\u00e90.jpg /Annotations/480p/cow/\u00e90.png")
        (cow,) = read_davis(davis, 2017, "cow")
        assert cow.frame_names == ("e\u03010",) and [path.name for path in cow.masks.values()] == ["\u00e90.png"]
        make(davis, "Annotations/480p/cow/e\u03010.png")
        with raises("both .* and", "Keep only one mask per frame"):
            read_davis(davis, 2017, "cow")

    def test_a_mask_that_is_a_broken_link(self, davis):
        os.symlink("gone.png", davis / "Annotations/480p/bear/00001.png")
        with raises(r"00001\.png: the path is a link to gone\.png, which does not exist"):
            read_sequence(davis, "bear", "480p")

    def test_masks_of_other_names(self, davis):
        make_sequence(davis, "cow", range(2), [])
        make(davis, "Annotations/480p/cow/mask.png")
        with raises("no PNG has the name of a frame", r"contains mask\.png", r"00000\.png"):
            read_sequence(davis, "cow", "480p")


class TestReadUnlisted:
    def test_all_sequences_whether_or_not_there_is_a_resolution(self, davis, tmp_path):
        make(davis, "JPEGImages/480p/lynx/0.jpg", "JPEGImages/480p/.hidden/0.jpg")
        sequences, problems = read_unlisted(davis)
        assert [sequence.name for sequence in sequences] == ["bear", "swan"] and len(sequences[0].frames) == 4
        assert len(problems) == 1 and "480p/lynx: no such folder of masks" in problems[0]
        make(davis, "mine/JPEGImages/a/0.jpg", "mine/Annotations/a/0.png")
        (only,), problems = read_unlisted(davis / "mine")
        assert (only.name, len(only.masks), problems) == ("a", 1, [])

    def test_nothing_to_read(self, tmp_path):
        with raises("JPEGImages: no such folder"):
            read_unlisted(tmp_path)
        make(tmp_path, "JPEGImages/480p/a/0.jpg")
        with raises("no sequence has both frames and masks", "480p", "no such folder of masks"):
            read_unlisted(tmp_path)


class TestFindUnlisted:
    @pytest.fixture
    def mine(self, tmp_path):
        make(tmp_path, "JPEGImages/a/10.jpg", "JPEGImages/a/9.jpg", "Annotations/a/9.png")
        make(tmp_path, "JPEGImages/b/0.5.jpg", "JPEGImages/b/0.25.jpg", "Annotations/b/0.25.png")
        return tmp_path

    def test_folders_that_are_no_sequences(self, mine):
        make(mine, "JPEGImages/@eaDir/a/INFO", "JPEGImages/@eaDir/thumb.jpg", "JPEGImages/docs/notes.txt")
        make(mine, "JPEGImages/phone/0.heic", "JPEGImages/gone/notes.txt", "Annotations/gone/0.png")
        os.symlink("nowhere", mine / "JPEGImages/moved")
        notes = Notes()
        readers = find_unlisted(mine, notes=notes)
        assert list(readers) == ["a", "b", "gone", "moved", "phone"]
        assert notes.lines() == [
            f"some folders are skipped: 2 folders without images and masks (such as {mine}/JPEGImages/@eaDir)"
        ]
        for name, found in (("gone", "no images"), ("moved", "a link to nowhere"), ("phone", r"found 1 \.heic")):
            with raises(f"JPEGImages/{name}: ", found):
                readers[name]()

    def test_next_to_a_resolution(self, tmp_path):
        make(tmp_path, "JPEGImages/720p/a/0.jpg", "JPEGImages/@eaDir/a/0.jpg", "Annotations/720p/a/0.png")
        make(tmp_path, "JPEGImages/__MACOSX/a/._0.jpg", "JPEGImages/720p/._a.jpg")
        assert list(find_unlisted(tmp_path)) == ["a"]

    def test_some_by_name(self, mine):
        assert list(find_unlisted(mine, names=["a"])) == ["a"]
        with raises("no sequence 'c'", "It contains a, b"):
            find_unlisted(mine, names=["a", "c"])

    def test_the_order_and_notes_reach_the_frames(self, mine):
        notes = Notes()
        (only,), problems = read_unlisted(mine, notes=notes)
        assert only.frame_names == ("9", "10") and len(problems) == 1 and "is ambiguous" in problems[0]
        start = "the order of frames differs from plain alphabetical sorting: 1 folder in natural order"
        assert notes.lines()[0].startswith(start)
        sequences, problems = read_unlisted(mine, order="decimal")
        assert [s.frame_names for s in sequences] == [("9", "10"), ("0.25", "0.5")] and problems == []
        with pytest.raises(ConfigError, match="order is 'x'"):
            read_unlisted(mine, order="x")

    def test_a_folder_whose_name_cannot_be(self, mine):
        make(mine, "JPEGImages/c\\d/0.jpg", "Annotations/c\\d/0.png")
        with raises("is not a valid sequence name"):
            find_unlisted(mine)["c\\d"]()


def test_splits_that_have_a_list(davis):
    write_list(davis, "2017/train.txt", "swan")
    write_list(davis, "480p/test.txt", pair("swan", 0))
    assert list_davis_splits(davis, 2017) == ["train", "val"]
    assert list_davis_splits(davis, "2016") == ["test"]
    assert list_davis_splits(davis, "2016", "1080p") == []


class TestReadFolder:
    def test_frames_and_one_mask(self, tmp_path):
        make(tmp_path, "holiday/img_10.jpg", "holiday/img_9.jpg", "first.png")
        sequence = read_folder(tmp_path / "holiday", tmp_path / "first.png")
        assert (sequence.name, sequence.frame_names) == ("holiday", ("img_9", "img_10"))
        assert sequence.masks == {0: tmp_path / "first.png"}

    def test_the_mask_may_lie_among_the_frames(self, tmp_path, monkeypatch):
        make(tmp_path, "holiday/1.jpg", "holiday/2.jpg", "holiday/1.png")
        monkeypatch.chdir(tmp_path / "holiday")
        sequence = read_folder(".", "1.png")
        assert (sequence.name, sequence.frame_names) == ("holiday", ("1", "2"))

    @pytest.mark.parametrize("given", ["..", "../", "inner/../..", ".", "../../holiday"])
    def test_the_name_is_that_of_the_folder(self, tmp_path, monkeypatch, given):
        make(tmp_path, "holiday/1.jpg", "holiday/inner/2.jpg", "m.png")
        (tmp_path / "holiday/inner/inner").mkdir()
        monkeypatch.chdir(tmp_path / "holiday" if given == "." else tmp_path / "holiday" / "inner")
        assert read_folder(given, tmp_path / "m.png").name == "holiday"

    def test_the_root_has_no_name(self, tmp_path):
        make(tmp_path, "m.png")
        with raises("'' is not a valid sequence name"):
            read_folder("/", tmp_path / "m.png")

    def test_order_and_notes(self, tmp_path):
        make(tmp_path, "clip/1.9.jpg", "clip/1.10.jpg", "clip/notes.txt", "m.png")
        notes = Notes()
        sequence = read_folder(tmp_path / "clip", tmp_path / "m.png", order="decimal", notes=notes)
        assert sequence.frame_names == ("1.10", "1.9") and len(notes.lines()) == 1

    def test_missing(self, tmp_path):
        make(tmp_path, "holiday/1.jpg")
        with raises(r"first\.png: no such file", "contains holiday"):
            read_folder(tmp_path / "holiday", tmp_path / "first.png")
        make(tmp_path, "first.png")
        with raises("holidays: no such folder"):
            read_folder(tmp_path / "holidays", tmp_path / "first.png")
