"""Tests videos from folders, multi-page images and arrays. Frames are read by index in any order, and by iteration."""

import pickle

import numpy as np
import pytest
from PIL import Image

from hmmn_jax.errors import DataError
from hmmn_jax.io.image_video import ImageVideo
from hmmn_jax.io.inspection import FrameFacts
from hmmn_jax.io.video import ArrayVideo
from hmmn_jax.io.video_file import open_video

FRAMES = np.random.default_rng(0).integers(0, 256, (5, 4, 8, 3), dtype=np.uint8)


def folder(path):
    for i, frame in enumerate(FRAMES):
        Image.fromarray(frame).save(path / f"{i:03d}.png")
    return ImageVideo(sorted(path.glob("*.png")), fps=5)


def tiff(path):
    first, *rest = map(Image.fromarray, FRAMES)
    first.save(path / "stack.tif", save_all=True, append_images=rest)
    return open_video(path / "stack.tif")


def webp(path):
    first, *rest = map(Image.fromarray, FRAMES)
    first.save(path / "loop.webp", save_all=True, append_images=rest, lossless=True)
    return open_video(path / "loop.webp")


KINDS = {
    "folder": (folder, None, 5, ("000", "001", "002", "003", "004")),
    "pages of a TIFF": (tiff, "stack", 0, None),
    "pages of a WebP": (webp, "loop", 0, None),
    "array": (lambda _: ArrayVideo(FRAMES, "clip", 5), "clip", 5, None),
    "list of arrays": (lambda _: ArrayVideo(list(FRAMES)), "array", 0, None),
}


@pytest.mark.parametrize(("make", "name", "fps", "frame_names"), KINDS.values(), ids=list(KINDS))
def test_frames_by_index_and_in_turn(tmp_path, make, name, fps, frame_names):
    video = make(tmp_path)
    assert (video.name, video.size, video.fps, video.frame_names) == (name or tmp_path.name, (4, 8), fps, frame_names)
    assert (len(video), video.length_hint, bool(video)) == (5, 5, True) and video.inspect() == FrameFacts(8, 4)
    for i in (3, 0, 4, 4, 1, -1, 2, -5, np.int64(2)):
        frame = video[i]
        assert frame.dtype == np.uint8
        np.testing.assert_array_equal(frame, FRAMES[i])
    for one, other, frame in zip(video, video, FRAMES, strict=True):
        np.testing.assert_array_equal(one, frame)
        np.testing.assert_array_equal(other, frame)
    for beyond in (5, -6):
        with pytest.raises(IndexError):
            video[beyond]
    with pytest.raises(TypeError):
        video[1.0]
    video.close()
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(video))[1], FRAMES[1])


@pytest.mark.parametrize(
    ("frames", "said"),
    [
        ([], "the video has no frames"),
        (np.zeros((2, 4, 8), np.uint8), r"frame 0 is uint8 \[4, 8\], expected uint8 \[height, width, 3\]"),
        (FRAMES / 255, "frame 0 is float64"),
        ([FRAMES[0], FRAMES[1].tolist()], "frame 1 is list"),
        ([FRAMES[0], FRAMES[1][:2]], r"frame 1 has the shape \[2, 8, 3\], but frame 0 has the shape \[4, 8, 3\]. All frames"),
    ],
)
def test_arrays_that_are_no_frames(frames, said):
    with pytest.raises(ValueError, match=f"^clip: {said}"):
        ArrayVideo(frames, "clip")


def test_no_files():
    with pytest.raises(ValueError, match="cat: the list of files is empty"):
        ImageVideo([], "cat")


def test_a_file_that_is_no_image(tmp_path):
    (tmp_path / "stack.tif").write_bytes(b"text")
    with pytest.raises(DataError, match=r"stack\.tif: the file is not an image"):
        open_video(tmp_path / "stack.tif")


@pytest.mark.parametrize("kind", KINDS)
def test_backwards(tmp_path, kind):
    video = KINDS[kind][0](tmp_path)
    found = list(video.backwards(1, 4))
    assert [frame.tobytes() for frame in found] == [video[t].tobytes() for t in (3, 2, 1)]
    assert list(video.backwards(2, 2)) == []
