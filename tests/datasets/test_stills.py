"""Tests reading folders of images and masks in common layouts."""

import pytest

from hmmn_jax.datasets.stills import read_stills
from hmmn_jax.errors import DataError
from hmmn_jax.io.notes import Notes


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def pairs(root, sequences):
    return [(s.name, *(str(path.relative_to(root)) for path in (*s.frames, s.masks[0]))) for s in sequences]


@pytest.mark.parametrize(
    ("images", "masks"),
    [("JPEGImages", "Annotations"), ("DUTS-TR-Image", "DUTS-TR-Mask"), ("images", "ground_truth_mask"), (".", ".")],
)
def test_folders_and_flat_pairs_in_natural_order(tmp_path, images, masks):
    touch(tmp_path / images, "10.jpg", "9.JPG", ".hidden.jpg", "notes.txt")
    touch(tmp_path / masks, "10.png", "9.png")
    sequences, problems = read_stills(tmp_path)
    prefix = [f"{folder}/" if folder != "." else "" for folder in (images, masks)]
    assert problems == []
    assert pairs(tmp_path, sequences) == [
        (n, f"{prefix[0]}{n}{end}", f"{prefix[1]}{n}.png") for n, end in (("9", ".JPG"), ("10", ".jpg"))
    ]


def test_a_folder_for_each_class(tmp_path):  # the layout of FSS-1000
    touch(tmp_path, "cat/1.jpg", "cat/1.png", "ant/1.jpg", "ant/1.png")
    assert pairs(tmp_path, read_stills(tmp_path)[0]) == [
        ("ant/1", "ant/1.jpg", "ant/1.png"),
        ("cat/1", "cat/1.jpg", "cat/1.png"),
    ]


def test_ends_of_names(tmp_path):  # the layout of the BIG data set
    touch(tmp_path, "a_im.jpg", "a_gt.png")
    assert pairs(tmp_path, read_stills(tmp_path, image_end="_im", mask_end="_gt")[0]) == [("a", "a_im.jpg", "a_gt.png")]


def test_folders_that_are_named(tmp_path):
    touch(tmp_path, "in/a.jpg", "out/a.png", "JPEGImages/b.jpg")
    assert pairs(tmp_path, read_stills(tmp_path, "in", "out")[0]) == [("a", "in/a.jpg", "out/a.png")]
    with pytest.raises(DataError, match=r"inn: no such folder. .* contains JPEGImages, in, out"):
        read_stills(tmp_path, "inn", "out")


def test_what_is_left_out_is_named(tmp_path):
    touch(tmp_path, "a.jpg", "a.png", "b.jpg", "c.png", "a.jpeg", "d.gif")
    sequences, problems = read_stills(tmp_path)
    assert len(sequences) == 1
    assert sorted(problem.removeprefix(f"{tmp_path}/").split(": ")[0] for problem in problems)[1:] == ["b.jpg", "c.png"]
    assert any("is skipped, because a.jp" in problem for problem in problems)


def test_pictures_of_other_formats_are_noted(tmp_path):
    touch(tmp_path, "JPEGImages/a.jpg", "JPEGImages/b.png", "Annotations/a.png", "Annotations/b.jpg", "JPEGImages/notes.txt")
    read_stills(tmp_path, notes=(notes := Notes()))
    assert notes.lines() == [
        f"some files are skipped: 1 image in formats other than JPEG ({tmp_path}/JPEGImages/b.png), "
        f"1 mask in formats other than PNG ({tmp_path}/Annotations/b.jpg)"
    ]
    (tmp_path / "Annotations/a.png").unlink()
    with pytest.raises(DataError, match=r"(?s)no image has a mask. .*in formats other than PNG"):
        read_stills(tmp_path)


def test_links(tmp_path):
    touch(tmp_path, "set/a.jpg", "set/a.png", "more/b.jpg")
    (tmp_path / "set" / "more").symlink_to("../more")
    _, problems = read_stills(tmp_path / "set")
    assert problems[0] == f"{tmp_path}/set/more is a link to a folder; the link is skipped"
    (tmp_path / "set" / "c.jpg").symlink_to("gone.jpg")
    with pytest.raises(DataError, match=r"c\.jpg: the path is a link to gone\.jpg, which does not exist"):
        read_stills(tmp_path / "set")


def test_nothing_at_all(tmp_path):
    with pytest.raises(DataError, match=r"no image has a mask. .* contains nothing. The files"):
        read_stills(tmp_path)
