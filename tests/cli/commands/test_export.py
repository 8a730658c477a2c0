"""Tests `hmmn-jax export`, which converts masks on disk to other formats."""

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from hmmn_jax.cli.commands.export import KINDS
from hmmn_jax.cli.main import main
from hmmn_jax.exports import KINDS as ALL
from tests.evaluation.harness import discs, save_frames, save_ids

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # raised by pycocotools
FRAMES, MASKS = discs(3)


def test_the_kinds_of_the_help():
    """The command's copy of the list of export kinds must be complete. With the copy, --help does not import slow modules."""
    assert tuple(ALL) == KINDS


@pytest.fixture
def saved(tmp_path):
    """Writes three images, masks of frames 0 and 2, and probabilities of frame 2. Returns the folder."""
    save_frames(tmp_path / "pond", FRAMES)
    for t in (0, 2):
        save_ids(tmp_path / f"masks/{t:05d}.png", MASKS[t])
    soft = np.linspace(0, 1, 64, dtype=np.float16) * np.ones((48, 1), np.float16)
    (tmp_path / "probabilities").mkdir()
    np.savez(tmp_path / "probabilities/00002.npz", probs=np.stack([1 - soft, soft]), ids=np.array([0, 1], np.uint8))
    return tmp_path


def export(root, kind, output, *more):
    command = ["export", str(root / "masks"), "--video", str(root / "pond"), "--kind", kind, "--output", str(root / output)]
    return main([*command, *more])


def test_coco(saved, capsys):
    assert export(saved, "coco", "out.json") == 0
    out, err = capsys.readouterr()
    assert out == f"{saved / 'out.json'}\n"
    assert "NOTE: 1 of 3 frames have no mask. The export does not contain these frames.\n" in err
    found = json.loads((saved / "out.json").read_text())
    assert [image["file_name"] for image in found["images"]] == ["pond/00000.jpg", "pond/00002.jpg"]
    for t, one in zip((0, 2), found["annotations"], strict=True):
        np.testing.assert_array_equal(coco.decode(one["segmentation"]), MASKS[t] == 1)


def test_layers_with_probabilities(saved, capsys):
    assert export(saved, "rgba", "layers", "--probabilities", str(saved / "probabilities")) == 0
    assert "1 of 3 frames have hard edges" in capsys.readouterr().err
    with Image.open(saved / "layers/pond/001/00002.png") as image:
        opacity = np.asarray(image)[..., 3]
    np.testing.assert_allclose(opacity[0] / 255, np.linspace(0, 1, 64), atol=1 / 255)


def test_masks_of_255_are_object_1(saved):
    for t in (0, 2):
        Image.fromarray(np.where(MASKS[t] > 0, np.uint8(255), np.uint8(0))).save(saved / f"masks/{t:05d}.png")
    assert export(saved, "coco", "out.json") == 0
    assert {one["category_id"] for one in json.loads((saved / "out.json").read_text())["annotations"]} == {1}


def test_a_video_file_has_masks_by_number(saved):
    pages = [Image.fromarray(frame) for frame in FRAMES]
    pages[0].save(saved / "pond.webp", save_all=True, append_images=pages[1:], lossless=True)
    command = ["export", str(saved / "masks"), "--video", str(saved / "pond.webp"), "--kind", "ytvis"]
    assert main([*command, "--output", str(saved / "out.json")]) == 0
    found = json.loads((saved / "out.json").read_text())
    assert found["videos"][0]["length"] == 3 and found["annotations"][0]["segmentations"][1] is None


@pytest.mark.parametrize(
    ("kind", "output", "more", "said"),
    [
        ("coco", "out", (), "an export of kind coco is a .json file"),
        ("rgba", "out", ("--probabilities", "nowhere"), "nowhere: the folder does not exist"),
        ("avi", "out", (), "invalid choice: 'avi'"),
    ],
)
def test_errors(saved, capsys, kind, output, more, said):
    assert export(saved, kind, output, *more) == 2
    assert said in capsys.readouterr().err and not (saved / output).exists()


def test_probabilities_of_another_size(saved, capsys):
    np.savez(saved / "probabilities/00002.npz", probs=np.zeros((2, 3, 3), np.float16), ids=np.array([0, 1], np.uint8))
    assert export(saved, "rgba", "layers", "--probabilities", str(saved / "probabilities")) == 2
    err = capsys.readouterr().err
    assert "00002.npz: the file does not contain the probabilities of this frame" in err
    assert "the probabilities have the shape [2, 3, 3], expected [2, 48, 64]" in err
    assert not (saved / "layers").exists()
