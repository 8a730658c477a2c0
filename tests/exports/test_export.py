"""Tests exports of a small video by reading them with Pillow, pycocotools, PyAV and this package."""

import io
import json
import os
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from hmmn_jax.errors import ConfigError, DataError
from hmmn_jax.exports import KINDS, Label, export
from hmmn_jax.io.image_video import ImageVideo
from hmmn_jax.io.images import read_mask
from hmmn_jax.io.palette import davis_palette
from hmmn_jax.io.pictures import overlay
from hmmn_jax.io.video import ArrayVideo
from hmmn_jax.io.video_file import VideoFile

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # raised by pycocotools

SIZE = HEIGHT, WIDTH = 14, 20
FRAMES = 4
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (FRAMES, *SIZE, 3), dtype=np.uint8)


def masks_of_the_clip():
    """Returns masks by frame number. All masks contain object 2, and frame 1 also contains object 7. Frame 2 has no mask."""
    masks = {t: np.zeros(SIZE, np.uint8) for t in (0, 1, 3)}
    for t, mask in masks.items():
        mask[2:9, 3 + t : 12] = 2
    masks[1][0:4, 10:20] = 7
    return masks


MASKS = masks_of_the_clip()
SOFT = np.clip(np.linspace(-0.2, 1.2, WIDTH, dtype=np.float32), 0, 1) * np.ones(SIZE, np.float32)


def find(t, soft=()):
    """Returns the result of a frame. Object 2 has probabilities in the frames `soft`. Object 7 has no probabilities."""
    if t not in MASKS:
        return None
    probs = np.stack([1 - SOFT, SOFT]) if t in soft else None
    return SimpleNamespace(mask=MASKS[t], ids=(0, 2), probs=probs)


@pytest.fixture
def video():
    return ArrayVideo(IMAGES, "koi", fps=12.5)


MISSING = "1 of 4 frames have no mask"
LEFT_OUT = f"{MISSING}. The export does not contain these frames."


def test_indexed_pngs(tmp_path, video):
    assert export("davis", tmp_path / "out", video, find) == [LEFT_OUT]
    folder = tmp_path / "out/koi"
    assert sorted(path.name for path in folder.iterdir()) == ["00000.png", "00001.png", "00003.png"]
    for t, mask in MASKS.items():
        path = folder / f"{t:05d}.png"
        np.testing.assert_array_equal(read_mask(path), mask)
        with Image.open(path) as image:
            assert image.mode == "P"
            assert image.getpalette()[:24] == davis_palette()[:8].ravel().tolist()


def test_ids_above_255(tmp_path, video):
    mask = np.where(MASKS[0] > 0, np.uint16(300), np.uint16(0))
    export("davis", tmp_path / "out", video, lambda t: SimpleNamespace(mask=mask, ids=(0, 300), probs=None), stop=1)
    np.testing.assert_array_equal(np.array(Image.open(tmp_path / "out/koi/00000.png")), mask)


def test_binary_pngs(tmp_path, video):
    """A labelled object has a file for each frame with a mask. Other objects have files from their first frame on."""
    export("binary", tmp_path / "out.zip", video, find, labels={2: Label("fish")})
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        files = {name: np.array(Image.open(io.BytesIO(archive.read(name)))) for name in archive.namelist()}
    expected = {f"koi/002/{t:05d}.png": mask == 2 for t, mask in MASKS.items()}
    expected |= {f"koi/007/{t:05d}.png": MASKS[t] == 7 for t in (1, 3)}
    assert files.keys() == expected.keys()
    for name, mask in expected.items():
        np.testing.assert_array_equal(files[name], np.where(mask, 255, 0))


def test_layers(tmp_path, video):
    remarks = export("rgba", tmp_path / "out", video, lambda t: find(t, soft=(1,)), labels={2: Label()})
    assert remarks == [
        LEFT_OUT,
        "2 of 4 frames have hard edges. Their masks are annotations or have no probabilities.",
    ]
    for t, opacity in ((0, (MASKS[0] == 2) * 1.0), (1, SOFT), (3, (MASKS[3] == 2) * 1.0)):
        with Image.open(tmp_path / f"out/koi/002/{t:05d}.png") as image:
            assert image.mode == "RGBA"
            pixels = np.array(image)
        np.testing.assert_array_equal(pixels[..., 3], np.rint(opacity * 255))
        visible = pixels[..., 3] > 0
        np.testing.assert_array_equal(pixels[visible, :3], IMAGES[t][visible])
        assert not pixels[~visible].any()


def test_coco_is_read_by_pycocotools(tmp_path, video, capsys):
    assert export("coco", tmp_path / "out.json", video, find, labels={2: Label("fish")}) == [LEFT_OUT]
    found = COCO(tmp_path / "out.json")
    capsys.readouterr()
    assert {k: category["name"] for k, category in found.cats.items()} == {2: "fish", 7: "object 7"}
    assert [image["file_name"] for image in found.imgs.values()] == [f"koi/{t:05d}.jpg" for t in MASKS]
    for t, mask in MASKS.items():
        annotations = found.loadAnns(found.getAnnIds(imgIds=[t + 1]))
        assert [one["category_id"] for one in annotations] == [k for k in np.unique(mask).tolist() if k]
        for one in annotations:
            np.testing.assert_array_equal(found.annToMask(one), mask == one["track_id"])
            assert one["area"] == (mask == one["track_id"]).sum()
    assert found.loadAnns(1)[0]["bbox"] == [3, 2, 9, 7]


def test_youtube_vis(tmp_path, video):
    """The lists of an object have one entry for each frame. The entry is null if the object is absent from the frame."""
    remarks = export("ytvis", tmp_path / "out.json", video, find, start=1)
    assert remarks == ["1 of 3 frames have no mask. The list of each object contains null for these frames."]
    found = json.loads((tmp_path / "out.json").read_text())
    (about,) = found["videos"]
    assert about == {"id": 1, "file_names": [f"koi/{t:05d}.jpg" for t in (1, 2, 3)], "height": 14, "width": 20, "length": 3}
    assert [category["id"] for category in found["categories"]] == [2, 7]
    decode = COCO().annToMask
    decode.__self__.imgs = {1: about}
    for annotation in found["annotations"]:
        k = annotation["category_id"]
        for i, t in enumerate((1, 2, 3)):
            shown = t in MASKS and (MASKS[t] == k).any()
            lists = [annotation[name][i] for name in ("segmentations", "areas", "bboxes")]
            assert [one is not None for one in lists] == [shown] * 3
            if shown:
                mask = decode({"image_id": 1, "segmentation": lists[0]})
                np.testing.assert_array_equal(mask, MASKS[t] == k)
                assert lists[1] == mask.sum()


def test_names_of_image_files(tmp_path):
    folder = tmp_path / "pond"
    folder.mkdir()
    for name in ("a", "b"):
        Image.fromarray(IMAGES[0]).save(folder / f"{name}.png")
    video = ImageVideo(sorted(folder.iterdir()))
    export("coco", tmp_path / "out.json", video, find, stop=1)
    assert [image["file_name"] for image in json.loads((tmp_path / "out.json").read_text())["images"]] == ["pond/a.png"]
    export("davis", tmp_path / "out", video, find)
    assert sorted(path.name for path in (tmp_path / "out/pond").iterdir()) == ["a.png", "b.png"]


def test_mp4_has_all_frames_at_the_rate_of_the_video(tmp_path, video, monkeypatch):
    """Frames without a mask are shown without an overlay. Objects have the colours of their labels."""
    from hmmn_jax.exports import movie

    shown = []
    monkeypatch.setattr(movie.MovieWriter, "write", _recorded(movie.MovieWriter.write, shown))
    remarks = export("mp4", tmp_path / "out.mp4", video, find, labels={2: Label("fish", (10, 200, 30))})
    assert remarks == [f"{MISSING}. The movie shows these frames without an overlay."]
    film = VideoFile(tmp_path / "out.mp4")
    assert (len(film), film.size, film.fps) == (FRAMES, SIZE, 12.5)
    palette = davis_palette()
    palette[2] = 10, 200, 30
    for t in range(FRAMES):
        np.testing.assert_array_equal(shown[t], overlay(IMAGES[t], MASKS[t], palette=palette) if t in MASKS else IMAGES[t])


def _recorded(write, shown):
    def recorded(self, frame):
        shown.append(frame)
        write(self, frame)

    return recorded


def test_gif_without_a_rate_has_ten_frames_a_second(tmp_path):
    export("gif", tmp_path / "out.gif", ArrayVideo(IMAGES, "koi"), find)
    with Image.open(tmp_path / "out.gif") as image:
        assert (image.n_frames, image.info["duration"]) == (FRAMES, 100)


def names_of(kind, stem="out"):
    return stem + KINDS[kind].suffix


@pytest.mark.parametrize("kind", KINDS)
class TestFiles:
    def test_own_files_are_replaced_and_others_kept(self, tmp_path, video, kind):
        path = tmp_path / names_of(kind)
        export(kind, path, video, find)
        export(kind, path, video, find, stop=1)
        files = [path] if path.is_file() else [file for file in path.rglob("*.png")]
        changed = files[0].read_bytes() + b"a user's"
        files[0].write_bytes(changed)
        with pytest.raises(DataError, match="not written by this program, or was changed"):
            export(kind, path, video, find)
        assert files[0].read_bytes() == changed

    def test_nothing_is_left_after_an_error(self, tmp_path, video, kind):
        def stop_at_two(done, total):
            assert total == FRAMES
            if done == 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            export(kind, tmp_path / names_of(kind), video, find, report=stop_at_two)
        assert os.listdir(tmp_path) == []


def test_files_of_an_earlier_export_go(tmp_path, video):
    export("davis", tmp_path / "out", video, find)
    (tmp_path / "out/koi/notes.txt").write_text("a user's")
    export("davis", tmp_path / "out", video, find, stop=1)
    assert sorted(path.name for path in (tmp_path / "out/koi").iterdir()) == ["00000.png", "notes.txt"]


def test_archives_are_equal_for_equal_masks(tmp_path, video):
    for name in ("a.zip", "b.zip"):
        export("davis", tmp_path / name, video, find)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("avi", "out.avi", "unknown kind of export 'avi', expected one of davis, binary"),
        ("coco", "out", "kind coco is a .json file"),
        ("rgba", "out.json", "kind rgba consists of many files. Pass a folder, or the name of a .zip archive"),
    ],
)
def test_wrong_paths(tmp_path, video, kind, name, message):
    with pytest.raises(ConfigError, match=message):
        export(kind, tmp_path / name, video, find)
    assert os.listdir(tmp_path) == []


def test_wrong_ranges(tmp_path, video):
    with pytest.raises(ValueError, match="start is 2 and stop is 9, expected 0 <= start < stop <= 4"):
        export("davis", tmp_path / "out", video, find, start=2, stop=9)
