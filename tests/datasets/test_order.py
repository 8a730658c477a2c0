"""Tests the order of frames by file name."""

import random

import pytest

from hmmn_jax.datasets.listing import list_frames
from hmmn_jax.errors import ConfigError, DataError
from hmmn_jax.io.notes import Notes


def make(folder, *stems, suffix=".jpg"):
    folder.mkdir(parents=True, exist_ok=True)
    for stem in random.Random(0).sample(stems, len(stems)):
        (folder / f"{stem}{suffix}").write_bytes(b"")


def stems(folder, **options):
    return [path.stem for path in list_frames(folder, **options)]


@pytest.mark.parametrize(
    "names",
    [
        ["frame", "frame (1)", "frame (2)", "frame (10)"],
        ["scan", "scan1", "scan2", "scan10"],
        ["cam", "cam_1", "cam_2"],
        ["image", "image 2"],
        ["Img_9", "img_10", "IMG_11"],
        ["e\u0301 1", "\u00e9 2", "e\u0301 10"],  # e with an accent, decomposed and composed
        ["2024-01-02 09.05.01", "2024-01-02 09.05.02", "2024-01-02 10.00.00"],
        ["2024-01-02", "2024-01-10", "2024-02-01"],
        ["1305031102.075304", "1305031102.175304", "1305031103.000001"],
        ["v1.2.9", "v1.2.10", "v1.10.0"],
        ["+1", "+2", "+10"],
        ["cover", "page 1", "page 2"],
        ["0.0", "0.5", "1.0"],
        ["1e1", "2e1", "3e1"],
        ["1e1000", "2e5"],  # 1e1000 is not read as a number
    ],
)
def test_names_that_have_one_order(tmp_path, names):
    make(tmp_path, *names)
    assert stems(tmp_path) == names


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["0", "0.25", "0.5", "1"], r"natural: 0\.jpg, 0\.5\.jpg, 0\.25\.jpg; decimal: 0\.jpg, 0\.25\.jpg, 0\.5\.jpg"),
        (["v1.2", "v1.10"], r"natural: v1\.2\.jpg, v1\.10\.jpg; decimal: v1\.10\.jpg, v1\.2\.jpg"),
        (["-2", "-1", "0", "1"], r"natural: 0\.jpg, 1\.jpg, -1\.jpg; signed: -2\.jpg, -1\.jpg, 0\.jpg"),
        (["\u22122", "\u22121"], "natural.*signed"),
        (["0.0", "5e-05", "0.0001", "0.00015"], r"natural: .*; decimal: 0\.0\.jpg, 5e-05\.jpg, 0\.0001\.jpg"),
        (["1e-05", "2E-06"], r"natural: 1e-05\.jpg, 2E-06\.jpg; decimal: 2E-06\.jpg, 1e-05\.jpg"),
        ([*"1234", "5.2", "5.10"], r"natural: \.\.\. 5\.2\.jpg, 5\.10\.jpg; decimal: \.\.\. 5\.10\.jpg, 5\.2\.jpg"),
    ],
)
def test_names_that_can_be_read_in_two_ways(tmp_path, names, shown):
    make(tmp_path, *names)
    with pytest.raises(DataError, match=rf"{shown}.*Set order=natural\|decimal\|signed\|name"):
        list_frames(tmp_path)


@pytest.mark.parametrize(
    ("order", "names"),
    [
        ("natural", ["0", "0.5", "0.25"]),
        ("decimal", ["0", "0.25", "0.5"]),
        ("signed", ["-1.5", "-1.25", "0", "+0.25", "1.125"]),
        ("name", ["1", "10", "2"]),
        ("decimal", ["0.0", "5e-05", "0.0001", "0.00015", "1e+02"]),
        ("signed", ["-1e-05", "\u22125e-06", "0", "5e-05", "0.0001"]),
        ("natural", ["1e-05", "2e-06"]),
    ],
)
def test_an_order_that_is_given(tmp_path, order, names):
    make(tmp_path, *names)
    assert stems(tmp_path, order=order) == names


def test_a_sign_is_one_only_where_every_name_begins_with_its_number(tmp_path):
    make(tmp_path, "-1", "-2", "a3")
    assert stems(tmp_path) == ["-1", "-2", "a3"]


def test_an_unknown_order(tmp_path):
    make(tmp_path, "1")
    with pytest.raises(ConfigError, match="order is 'time', expected natural, decimal, signed, name, or ''"):
        list_frames(tmp_path, order="time")


def test_the_order_is_reported_where_plain_sorting_differs(tmp_path):
    make(tmp_path / "a", "00", "01")
    make(tmp_path / "b", "9", "10")
    make(tmp_path / "c", "f", "f (1)")
    notes = Notes()
    for name in "abc":
        list_frames(tmp_path / name, notes=notes)
    (line,) = notes.lines()
    assert line == (
        f"the order of frames differs from plain alphabetical sorting: 2 folders in natural order "
        f"(such as {tmp_path}/b: 9.jpg before 10.jpg)"
    )
