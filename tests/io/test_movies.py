"""Tests overlays by comparison with literal pixels, and movies by reading them with Pillow and PyAV."""

import errno
import os
import resource
import sys
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from hmmn_jax.errors import DataError
from hmmn_jax.io import movies as pictures
from hmmn_jax.io.movies import MovieWriter
from hmmn_jax.io.pictures import overlay, write_image
from hmmn_jax.io.video_file import VideoFile


def square(size=8, low=2, high=6, value=1):
    ids = np.zeros((size, size), np.uint8)
    ids[low:high, low:high] = value
    return ids


class TestOverlay:
    def test_literal_pixels(self):
        frame = np.full((8, 8, 3), 100, np.uint8)
        picture = overlay(frame, square())
        assert picture.dtype == np.uint8
        line, fill, back = [255, 0, 0], [114, 50, 50], [100, 100, 100]
        rows = ["........", "........", "..llll..", "..lffl..", "..lffl..", "..llll..", "........", "........"]
        expected = [[{"l": line, "f": fill, ".": back}[c] for c in row] for row in rows]
        np.testing.assert_array_equal(picture, expected)
        assert (frame == 100).all()

    def test_opacity(self):
        frame = np.full((8, 8, 3), (200, 40, 0), np.uint8)
        assert overlay(frame, square(value=2), opacity=0)[3, 3].tolist() == [200, 40, 0]
        assert overlay(frame, square(value=2), opacity=0.25)[3, 3].tolist() == [150, 62, 0]
        assert overlay(frame, square(value=2), opacity=1)[3, 3].tolist() == [0, 128, 0]

    def test_objects_that_touch_have_a_line_each_and_the_border_none(self):
        ids = np.repeat(np.array([[1, 1, 1, 2, 2, 2]], np.uint8), 3, axis=0)
        picture = overlay(np.zeros((3, 6, 3), np.uint8), ids)
        red, green = [[64, 0, 0], [64, 0, 0], [255, 0, 0]], [[0, 255, 0], [0, 64, 0], [0, 64, 0]]
        np.testing.assert_array_equal(picture, [red + green] * 3)

    def test_the_line_grows_with_the_frame(self):
        ids = square(size=640, low=100, high=500)
        picture = overlay(np.zeros((640, 640, 3), np.uint8), ids)
        assert picture[300, 99:104, 0].tolist() == [0, 255, 255, 64, 64]

    def test_no_object_no_change(self):
        frame = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
        np.testing.assert_array_equal(overlay(frame, np.zeros((5, 7), np.uint8)), frame)


def test_write_image(tmp_path, monkeypatch):
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    write_image(tmp_path / "out" / "a.png", picture)
    with Image.open(tmp_path / "out" / "a.png") as image:
        assert image.format == "PNG"
        np.testing.assert_array_equal(np.asarray(image), picture)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(DataError, match="No space left"):
        write_image(tmp_path / "out" / "b.png", picture)
    assert os.listdir(tmp_path / "out") == ["a.png"]


def moving_square(count=6, height=40, width=60):
    frames = np.full((count, height, width, 3), (30, 90, 200), np.uint8)
    for i, frame in enumerate(frames):
        frame[10:26, 4 + 6 * i : 20 + 6 * i] = (230, 40, 40)
    return frames


def write_movie(path, frames, fps=10):
    with MovieWriter(path, fps) as movie:
        for frame in frames:
            movie.write(frame)


def read_gif(path):
    with Image.open(path) as image:
        frames = []
        for i in range(image.n_frames):
            image.seek(i)
            frames.append(np.asarray(image.convert("RGB")))
        return np.stack(frames), image.info


class TestGif:
    def test_frames_rate_and_endless_repetition(self, tmp_path):
        write_movie(tmp_path / "a.gif", moving_square(), fps=12.5)
        frames, info = read_gif(tmp_path / "a.gif")
        assert (info["duration"], info["loop"]) == (80, 0)
        np.testing.assert_allclose(frames.astype(int), moving_square(), atol=8)
        assert os.listdir(tmp_path) == ["a.gif"]

    def test_large_frames_are_made_smaller(self, tmp_path):
        write_movie(tmp_path / "a.gif", moving_square(2, height=500, width=960))
        assert read_gif(tmp_path / "a.gif")[0].shape == (2, 250, 480, 3)

    def test_colours_that_appear_late_are_in_the_palette(self, tmp_path):
        ramp = np.linspace(0, 255, 60).astype(np.uint8)
        first = np.stack([np.tile(ramp, (40, 1))] * 3, -1)
        last = np.zeros_like(first)
        last[..., 1] = ramp
        write_movie(tmp_path / "a.gif", [first] * 3 + [last])
        assert np.abs(read_gif(tmp_path / "a.gif")[0][-1].astype(int) - last).max() <= 16


class TestMp4:
    @pytest.mark.parametrize("size", [(40, 60), (41, 60), (40, 61), (33, 35)])
    def test_frames_come_back_with_their_colours_at_even_sizes(self, tmp_path, size):
        av = pytest.importorskip("av")
        height, width = size
        frames = moving_square(12, height, width)
        write_movie(tmp_path / "a.mp4", frames, fps=24)
        even = (height + height % 2, width + width % 2)
        with av.open(str(tmp_path / "a.mp4")) as movie:
            (stream,) = movie.streams
            codec, bt709 = stream.codec_context, 1
            assert (stream.average_rate, codec.name, codec.pix_fmt) == (24, "h264", "yuv420p")
            assert (codec.colorspace, codec.color_primaries, codec.color_trc) == (bt709, bt709, bt709)
            planes = [frame.to_ndarray() for frame in movie.decode(stream)]
        assert len(planes) == 12 and planes[0].shape == (even[0] * 3 // 2, even[1])
        # In BT.709 with limited range, Y' = 16 + 219/255 (0.2126 R + 0.7152 G + 0.0722 B). For (30, 90, 200), Y' = 89.
        assert abs(int(planes[0][height - 4, width - 4]) - 89) <= 2
        decoded = np.stack(list(VideoFile(tmp_path / "a.mp4")))
        assert decoded.shape[1:3] == even and np.abs(decoded[:, :height, :width].astype(int) - frames).mean() < 4
        assert os.listdir(tmp_path) == ["a.mp4"]

    @pytest.mark.parametrize(
        ("fps", "rate"), [(29.97, Fraction(2997, 100)), (30000 / 1001, Fraction(30000, 1001)), (12.5, Fraction(25, 2))]
    )
    def test_exact_rates(self, tmp_path, fps, rate):
        av = pytest.importorskip("av")
        write_movie(tmp_path / "a.mp4", moving_square(), fps)
        with av.open(str(tmp_path / "a.mp4")) as movie:
            assert movie.streams.video[0].average_rate == rate
        assert VideoFile(tmp_path / "a.mp4").fps == fps

    def test_the_index_comes_first_so_that_browsers_start_at_once(self, tmp_path):
        pytest.importorskip("av")
        write_movie(tmp_path / "a.mp4", moving_square())
        content = (tmp_path / "a.mp4").read_bytes()
        assert 0 < content.index(b"moov") < content.index(b"mdat")

    def test_without_pyav(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "av", None)
        with pytest.raises(DataError, match=r"pip install hmmn-jax\[video\]"):
            write_movie(tmp_path / "a.mp4", moving_square())
        assert os.listdir(tmp_path) == []

    @pytest.mark.parametrize("room", [100, 40_000], ids=["for the header", "for some frames"])
    def test_a_disk_that_takes_no_more_is_reported_and_leaves_nothing(self, tmp_path, room):
        pytest.importorskip("av")
        noise = np.random.default_rng(0).integers(0, 256, (20, 64, 96, 3), dtype=np.uint8)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
            with pytest.raises(DataError, match=r"a\.mp4 cannot be written: File too large") as caught:
                write_movie(tmp_path / "out" / "a.mp4", noise)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert "\n" not in str(caught.value)
        assert os.listdir(tmp_path / "out") == []

    def test_an_encoder_that_rejects(self, tmp_path, monkeypatch):
        av = pytest.importorskip("av")

        def refuse(*_, **__):
            raise av.error.EncoderNotFoundError(1, "Encoder not found")  # this error is not an OSError

        monkeypatch.setattr(pictures, "filter_graph", refuse)
        with pytest.raises(DataError, match="cannot be written: Encoder not found"):
            write_movie(tmp_path / "out" / "a.mp4", moving_square())
        assert os.listdir(tmp_path / "out") == []


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
class TestAnyMovie:
    @pytest.fixture(autouse=True)
    def _pyav(self, suffix):
        if suffix == ".mp4":
            pytest.importorskip("av")

    def test_a_body_that_fails_leaves_the_older_movie(self, tmp_path, suffix):
        path = tmp_path / f"a{suffix}"
        path.write_bytes(b"older")
        with pytest.raises(FileNotFoundError), MovieWriter(path, 10) as movie:
            movie.write(moving_square()[0])
            raise FileNotFoundError("something of the caller's")
        assert path.read_bytes() == b"older" and os.listdir(tmp_path) == [path.name]

    def test_a_folder_that_cannot_be(self, tmp_path, suffix):
        (tmp_path / "file").write_text("")
        with pytest.raises(DataError, match="cannot be written"):
            write_movie(tmp_path / "file" / f"a{suffix}", moving_square())

    def test_no_frames(self, tmp_path, suffix):
        with pytest.raises(DataError, match="the movie has no frames"):
            write_movie(tmp_path / f"a{suffix}", [])
        assert os.listdir(tmp_path) == []

    def test_sizes_that_change(self, tmp_path, suffix):
        with pytest.raises(DataError, match="a frame has 60x42 pixels, but the first frame has 60x40"):
            write_movie(tmp_path / f"a{suffix}", [moving_square()[0], moving_square(height=42)[0]])
        assert os.listdir(tmp_path) == []

    def test_a_full_disk(self, tmp_path, suffix, monkeypatch):
        def full(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(pictures.os, "replace", full)
        with pytest.raises(DataError, match="No space left on device"):
            write_movie(tmp_path / f"a{suffix}", moving_square())
        assert os.listdir(tmp_path) == []

    @pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf")])
    def test_impossible_rates(self, tmp_path, suffix, fps):
        with pytest.raises(DataError, match="frames per second"):
            MovieWriter(tmp_path / f"a{suffix}", fps)


def test_unknown_kind_of_movie(tmp_path):
    with pytest.raises(DataError, match=r"'\.webm' is unknown. Choose \.mp4 or \.gif"):
        MovieWriter(tmp_path / "a.webm", 10)
