"""Tests exports, and evaluations with complete masks of several frames. The segmenter is the stub of the session tests."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from hmmn_jax import Session
from hmmn_jax.evaluation.annotated import count_steps
from hmmn_jax.evaluation.clips import Clip
from hmmn_jax.io.video import ArrayVideo
from tests.evaluation.harness import read_ids, run_evaluate, save_frames, save_ids
from tests.session.oracle import Oracle
from tests.session.stub import Stub, blobs, clip

COUNT, SIZE = 7, (20, 24)
FRAMES = clip(COUNT, *SIZE)
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # raised by pycocotools


def masks_of(*frames):
    """Returns a mask for each of the given frames. All masks contain object 1, and the last mask also contains object 2."""
    masks = {t: np.zeros(SIZE, np.uint8) for t in frames}
    for t, mask in masks.items():
        mask[4:12, 3 + t : 12 + t] = 1
    masks[frames[-1]][14:18, 2:9] = 2
    return masks


@pytest.fixture
def given(tmp_path):
    """Writes a folder of frames, and masks of frames 2 and 5. Returns the root and the masks."""
    save_frames(tmp_path / "pond", FRAMES, "f{:02d}.png")
    masks = masks_of(2, 5)
    for t, mask in masks.items():
        save_ids(tmp_path / f"masks/f{t:02d}.png", mask)
    return tmp_path, masks


def segment(root, segmenter=None, **request):
    request = {"frames": root / "pond", "mask": root / "masks", "output": root / "run"} | request
    done = run_evaluate(segmenter or Stub(), **request)
    assert done.code == 0, done.err
    return done


def expected(masks, direction):
    """Returns the mask that the oracle computes for each frame. Frames to which no mask is propagated are background."""
    oracle = Oracle(FRAMES)
    for t, mask in masks.items():
        oracle.annotate(t, mask, None)
    list(oracle.propagate(0, COUNT, direction))
    shown = [oracle.shown(t) for t in range(COUNT)]
    return [np.zeros(SIZE, int) if frame is None else frame["mask"] for frame in shown]


@pytest.mark.parametrize("direction", ["both", "forward", "backward"])
def test_each_mask_is_complete_in_each_direction(given, direction):
    root, masks = given
    stub = Stub()
    done = segment(root, stub, fields={"direction": direction})
    for t, mask in enumerate(expected(masks, direction)):
        np.testing.assert_array_equal(read_ids(root / f"run/masks/pond/f{t:02d}.png"), mask)
    steps = {"both": 2 + 2 * 2 + 1, "forward": 3, "backward": 4}[direction]
    assert stub.steps == steps and f"{steps} frames were segmented in" in done.out
    said = "pond has 7 frames of 24x20 pixels and 2 objects: 1 (in 2 of the masks), 2 (in 1 of the masks). "
    assert f"{said}The video has 2 annotated frames. The direction is {direction}." in done.out
    assert ("frames before the first mask are background" in done.err) == (direction == "forward")
    assert ("frames after the last mask are background" in done.err) == (direction == "backward")


def test_a_folder_of_masks_is_propagated_both_ways(given):
    root, masks = given
    segment(root)
    np.testing.assert_array_equal(read_ids(root / "run/masks/pond/f03.png"), expected(masks, "both")[3])


def test_a_video_file_has_masks_by_number(tmp_path):
    """Masks of a video file are named by frame number, starting at 0. Other PNGs are skipped with a note."""
    Image.fromarray(FRAMES[0]).save(
        tmp_path / "pond.webp", save_all=True, append_images=[Image.fromarray(f) for f in FRAMES[1:]], lossless=True
    )
    masks = masks_of(2, 5)
    for t, mask in masks.items():
        save_ids(tmp_path / f"masks/{t:05d}.png", mask)
    save_ids(tmp_path / "masks/notes.png", masks[2])
    done = segment(tmp_path, frames=tmp_path / "pond.webp")
    assert "not named like 00000.png" in done.err
    for t, mask in enumerate(expected(masks, "both")):
        np.testing.assert_array_equal(read_ids(tmp_path / f"run/masks/pond/{t:05d}.png"), mask)


def test_a_smaller_input_gives_masks_of_the_size_of_the_frames(given):
    root, masks = given
    segment(root, fields={"size": 16})
    for t, mask in masks.items():
        np.testing.assert_array_equal(read_ids(root / f"run/masks/pond/f{t:02d}.png"), mask)
    assert read_ids(root / "run/masks/pond/f03.png").shape == SIZE


def test_videos_of_a_folder_are_not_scored_with_their_own_masks(tmp_path):
    save_frames(tmp_path / "set/JPEGImages/pond", FRAMES, "{:05d}.png")
    masks = masks_of(0, 4)
    for t, mask in masks.items():
        save_ids(tmp_path / f"set/Annotations/pond/{t:05d}.png", mask)
    done = run_evaluate(Stub(), {"direction": "both"}, data=tmp_path / "set", output=tmp_path / "run")
    assert done.code == 0 and "not scored: pond: all masks are inputs because config.direction is both" in done.err
    np.testing.assert_array_equal(read_ids(tmp_path / "run/masks/pond/00002.png"), expected(masks, "both")[2])
    assert not (tmp_path / "run/summary.json").exists()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"direction": "sideways"}, "config.direction is 'sideways', expected one of forward, backward, both"),
        ({"direction": "both", "flip": True}, "config.direction is 'both', expected \"\" if several scales or flip are set"),
    ],
)
def test_settings_that_cannot_be(given, fields, said):
    root, _ = given
    done = run_evaluate(Stub(), fields, frames=root / "pond", mask=root / "masks", output=root / "run")
    assert done.code == 2 and said in done.err and not (root / "run").exists()


def test_masks_of_no_frame(given):
    root, masks = given
    save_ids(root / "others/g00.png", masks[2])
    done = run_evaluate(Stub(), frames=root / "pond", mask=root / "others", output=root / "run")
    assert done.code == 2 and "others: no PNG has the name of a frame" in done.err
    done = run_evaluate(Stub(), frames=root / "pond", mask=root / "pond", output=root / "run")
    assert done.code == 2 and "the masks are in the folder of the frames. Put the masks into a separate folder" in done.err


def test_the_steps_that_the_bar_counts():
    rng = np.random.default_rng(0)
    for direction in ("forward", "backward", "both"):
        for anchors in ([0], [3], [6], [1, 2], [0, 6], [2, 5]):
            stub, masks = Stub(), {t: blobs(rng, [1], *SIZE) for t in anchors}
            counted = count_steps(Clip("pond", ArrayVideo(FRAMES), dict.fromkeys(anchors, Path("x.png")), direction=direction))
            session = Session(stub, FRAMES)
            for t, mask in masks.items():
                session.annotate(t, mask)
            list(session.propagate(direction=direction))
            assert counted == stub.steps, (direction, anchors)


class TestExports:
    def test_next_to_the_masks_with_probabilities(self, given):
        """RGBA exports of segmented frames have soft edges. --overwrite also deletes the exports."""
        root, _ = given
        done = segment(root, exports=("rgba", "coco", "gif"), fields={"save_probabilities": True})
        run = root / "run"
        with Image.open(run / "exports/rgba/pond/001/f03.png") as image:
            opacity = np.asarray(image)[..., 3]
        with np.load(run / "probabilities/pond/f03.npz") as saved:
            p = saved["probs"][list(saved["ids"]).index(1)].astype(np.float32)
        assert ((opacity > 0) & (opacity < 255)).any()
        np.testing.assert_allclose(opacity / 255, p, atol=1 / 255)
        assert "NOTE: pond, export rgba: 2 of 7 frames have hard edges" in done.err
        found = json.loads((run / "exports/coco/pond.json").read_text())
        frame = {image["file_name"]: image["id"] for image in found["images"]}["pond/f03.png"]
        (one,) = (a for a in found["annotations"] if a["image_id"] == frame and a["category_id"] == 1)
        np.testing.assert_array_equal(coco.decode(one["segmentation"]), read_ids(run / "masks/pond/f03.png") == 1)
        with Image.open(run / "exports/gif/pond.gif") as image:
            assert image.n_frames == COUNT
        assert f"coco:     {run / 'exports/coco/pond.json'}" in done.out
        segment(root, overwrite=True)
        assert not (run / "exports").exists()

    def test_a_later_run_adds_them(self, given):
        root, _ = given
        segment(root)
        segment(root, exports=("ytvis",))
        assert (root / "run/exports/ytvis/pond.json").is_file() and (root / "run/masks/pond/f03.png").is_file()

    def test_an_unknown_kind(self, given):
        root, _ = given
        request = {"frames": root / "pond", "mask": root / "masks", "output": root / "run"}
        done = run_evaluate(Stub(), exports=("avi",), **request)
        assert done.code == 2 and "--export contains 'avi', expected one or more of davis, binary" in done.err
