"""Tests video files written with PyAV. Frames that are read by index are compared with frames decoded in order."""

import contextlib
import os
import pickle
import struct
import sys
from fractions import Fraction

import numpy as np
import pytest

from hmmn_jax.errors import DataError
from hmmn_jax.io import film_index
from hmmn_jax.io.film_decoder import FilmDecoder
from hmmn_jax.io.inspection import FrameFacts
from hmmn_jax.io.video_file import VideoFile, open_video

av = pytest.importorskip("av")
COUNT = 26
H264 = {"g": "8", "bf": "3", "x264-params": "scenecut=0:b-adapt=0"}  # groups of pictures with 8 frames each, including B-frames
OPEN = H264 | {"x264-params": "scenecut=0:b-adapt=0:open-gop=1"}


def greys(count=COUNT, height=32, width=48):
    """Returns frames whose grey level increases, with a darker bar that moves to the right."""
    frames = np.empty((count, height, width, 3), np.uint8)
    frames[:] = np.linspace(60, 240, count).astype(np.uint8)[:, None, None, None]
    for i, frame in enumerate(frames):
        frame[:, 2 * (i % 20) :][:, :4] -= 40
    return frames


def write_film(path, frames, codec="libx264", options=None, pixel_format="yuv420p", stamps=None, rate=10, metadata=None):
    """Encodes frames. `stamps` are frame times in hundredths of a second. By default, the frame rate is constant."""
    with av.open(str(path), "w") as container:
        container.metadata.update(metadata or {})
        stream = container.add_stream(codec, rate=rate, options=options or {})
        codec_context = stream.codec_context
        codec_context.height, codec_context.width = frames[0].shape[:2]
        codec_context.pix_fmt = pixel_format
        codec_context.time_base = Fraction(1, 100) if stamps else Fraction(1, rate)
        for i, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format=pixel_format)
            picture.pts, picture.time_base = stamps[i] if stamps else i, codec_context.time_base
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def turn(path, a, b, c, d):
    """Writes a display matrix into the header of an MP4 file. The matrix rotates or mirrors the frames."""
    content = bytearray(path.read_bytes())
    entries = [a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30]
    struct.pack_into(">9i", content, content.index(b"tkhd") + 44, *entries)
    path.write_bytes(content)
    return path


VARIABLE = np.cumsum([(3, 20, 7, 10, 40)[i % 5] for i in range(COUNT)]).tolist()
FILMS = {
    "B-frames": ("a.mp4", "libx264", H264, None),
    "open groups of pictures": ("a.mp4", "libx264", OPEN, None),
    "open groups in a stream": ("a.ts", "libx264", OPEN, None),
    "variable rate": ("a.mp4", "libx264", H264, VARIABLE),
    "late start": ("a.mkv", "libx264", H264, [500 + 10 * i for i in range(COUNT)]),
    "no timestamps": ("a.h264", "libx264", H264, None),
    "gradual refresh": ("a.mp4", "libx264", {"g": "8", "x264-params": "intra-refresh=1:bframes=0"}, None),
    "MPEG-4 part 2": ("a.avi", "mpeg4", {"g": "8", "bf": "2", "b": "2M"}, None),
    "VP9": ("a.webm", "libvpx-vp9", {"g": "8", "deadline": "realtime", "cpu-used": "8"}, None),
    "GIF": ("a.gif", "gif", {}, None),
}


@pytest.mark.parametrize(("name", "codec", "options", "stamps"), FILMS.values(), ids=list(FILMS))
def test_any_frame_in_any_order(tmp_path, name, codec, options, stamps):
    pixel_format = "rgb8" if codec == "gif" else "yuv420p"
    path = write_film(tmp_path / name, greys(), codec, options, pixel_format, stamps)
    frames = list(iter(VideoFile(path)))
    assert len(frames) == COUNT
    levels = [frame.mean() for frame in frames]
    np.testing.assert_allclose(levels, [frame.mean() for frame in greys()], atol=25 if codec == "gif" else 4)

    video = VideoFile(path)
    for i in 2 * np.random.default_rng(0).permutation(COUNT).tolist() + [*range(COUNT), *reversed(range(COUNT))]:
        assert video[i].tobytes() == frames[i].tobytes(), i
    assert len(video) == COUNT == len(VideoFile(path))
    assert video[-1].tobytes() == frames[-1].tobytes() == VideoFile(path)[-1].tobytes()
    for beyond in (COUNT, -COUNT - 1):
        with pytest.raises(IndexError):
            video[beyond]


@pytest.mark.parametrize(
    ("matrix", "upright"),
    [
        ((0, 1, -1, 0), lambda frame: np.rot90(frame, -1)),
        ((-1, 0, 0, -1), lambda frame: np.rot90(frame, 2)),
        ((0, -1, 1, 0), np.rot90),
        ((-1, 0, 0, 1), np.fliplr),
        ((1, 0, 0, -1), np.flipud),
        ((0, 1, 1, 0), lambda frame: frame.transpose(1, 0, 2)),
        ((0, -1, -1, 0), lambda frame: np.rot90(frame, 2).transpose(1, 0, 2)),
    ],
)
def test_turned_upright(tmp_path, matrix, upright):
    path = write_film(tmp_path / "a.mp4", greys(), options=H264)
    stored = list(VideoFile(path))
    video = VideoFile(turn(path, *matrix))
    assert video.size == upright(stored[0]).shape[:2] and video.inspect() == FrameFacts(*video.size[::-1])
    frames = list(video)
    for frame, other in zip(frames, stored, strict=True):
        np.testing.assert_allclose(frame.astype(int), upright(other), atol=2)
    for i in (20, 3, 11, 25):
        assert video[i].tobytes() == frames[i].tobytes()


class TestSeeking:
    @pytest.fixture
    def film(self, tmp_path):
        return write_film(tmp_path / "a.mp4", greys(), options=H264)

    def test_decodes_from_the_key_frame_and_opens_the_file_once(self, film, monkeypatch):
        opened, decoded = [], []

        class Counting(FilmDecoder):
            def __init__(self, path):
                opened.append(path)
                super().__init__(path)

            def frames(self):
                for frame in super().frames():
                    decoded.append(frame.pts)
                    yield frame

        monkeypatch.setattr(film_index, "FilmDecoder", Counting)
        video = VideoFile(film)
        assert len(video) == COUNT and not opened
        for i in (20, 9, 10, 12, 2, 17):
            video[i]
        assert len(opened) == 1 and len(decoded) <= 5 + 2 + 1 + 2 + 3 + 2
        video[16], video[15]  # frame 16 is cached, and frame 15 requires decoding 8 frames
        assert len(opened) == 1 and len(decoded) <= 15 + 8

    @pytest.mark.parametrize("length", [1, 6, 10, 100])
    def test_backwards_by_chunks(self, film, monkeypatch, length):
        decoded, frames = [], list(VideoFile(film))

        class Counting(FilmDecoder):
            def frames(self):
                for frame in super().frames():
                    decoded.append(frame.pts)
                    yield frame

        monkeypatch.setattr(film_index, "FilmDecoder", Counting)
        monkeypatch.setattr("hmmn_jax.io.video_file._BACKWARDS_BYTES", length * frames[0].nbytes)
        video = VideoFile(film)
        assert len(video) == COUNT
        for t, frame in zip(range(COUNT - 2, 1, -1), video.backwards(2, COUNT - 1), strict=True):
            assert frame.tobytes() == frames[t].tobytes()
        chunks = -(-(COUNT - 3) // length)
        assert len(decoded) <= COUNT - 3 + 7 * chunks  # for each chunk, up to 7 previous frames of a group are decoded
        with pytest.raises(IndexError):
            next(video.backwards(COUNT, COUNT + 1))

    @pytest.mark.parametrize("where", ["nowhere", "too late", "refused"])
    def test_seeking_to_the_wrong_place_gives_no_wrong_frame(self, film, monkeypatch, where):
        frames, seek = list(VideoFile(film)), FilmDecoder.seek
        ways = {"nowhere": lambda *_: True, "too late": lambda self, _: seek(self, 10**6), "refused": lambda *_: False}
        monkeypatch.setattr(FilmDecoder, "seek", ways[where])
        video = VideoFile(film)
        for i in (20, 9, 10, 2, 17, 17):
            assert video[i].tobytes() == frames[i].tobytes()

    def test_a_file_that_was_changed(self, film):
        video = VideoFile(film)
        assert len(video) == COUNT
        write_film(film, greys()[::-1], options=H264)
        with pytest.raises(DataError, match=r"a\.mp4: frame 3 has changed"):
            video[3]
        os.unlink(film)
        with pytest.raises(DataError, match=r"a\.mp4: .*No such file"):
            video[3]

    def test_close_releases_and_may_be_followed_by_reading(self, film):
        video = VideoFile(film)
        frames = [video[i] for i in (12, 3)]
        video.close()
        assert [video[i].tobytes() for i in (12, 3, 14)] == [*map(np.ndarray.tobytes, frames), VideoFile(film)[14].tobytes()]
        assert pickle.loads(pickle.dumps(video))[3].tobytes() == frames[1].tobytes()


def test_damaged_in_the_middle(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (30, 32, 48, 3), dtype=np.uint8)
    path = write_film(tmp_path / "a.mp4", noise, options=H264)
    content = bytearray(path.read_bytes())
    start = content.index(b"mdat")
    for place in range(start + 9000, start + 30000, 997):
        content[place] ^= 255
    path.write_bytes(content)
    video = VideoFile(path)
    frames = list(video)
    assert len(video) == len(frames) > 20
    for i in np.random.default_rng(0).permutation(len(frames)).tolist():
        assert video[i].tobytes() == frames[i].tobytes()
    assert [frame.tobytes() for frame in VideoFile(path)] == [frame.tobytes() for frame in frames]


class TestVideoFile:
    def test_frames_come_in_order_and_again(self, tmp_path):
        video = open_video(write_film(tmp_path / "a.mp4", greys(20)))
        assert (video.name, video.size, video.fps, video.length_hint, video.frame_names) == ("a", (32, 48), 10, 20, None)
        for _ in range(2):
            frames = list(video)
            assert len(frames) == 20
            assert all(frame.shape == (32, 48, 3) and frame.dtype == np.uint8 for frame in frames)
            np.testing.assert_allclose(np.mean(frames, (1, 2, 3)), greys(20).mean((1, 2, 3)), atol=4)

    def test_colours_are_of_the_standard_that_the_video_file_names(self, tmp_path):
        """Pure blue is encoded with the weights of BT.601. If the file is tagged as BT.709, the decoded colour differs."""
        frames = np.full((3, 32, 48, 3), (0, 0, 255), np.uint8)
        plain = VideoFile(write_film(tmp_path / "a.mp4", frames))[1]
        np.testing.assert_allclose(plain[8, 8].astype(int), (0, 0, 255), atol=3)
        tagged = VideoFile(write_film(tmp_path / "b.mp4", frames, options={"colorspace": "bt709"}))[1]
        # BT.601 encodes pure blue as Y' = 41, Cb = 240 and Cr = 110. BT.709 decodes R = 1.164 (41 - 16) + 1.793 (110 - 128),
        # which is clipped to 0. G and B are decoded with similar formulas.
        np.testing.assert_allclose(tagged[8, 8].astype(int), (0, 15, 255), atol=3)

    def test_one_may_stop_early(self, tmp_path):
        for frame in VideoFile(write_film(tmp_path / "a.mp4", greys(20))):
            assert frame.shape == (32, 48, 3)
            break

    def test_iterating_decodes_no_more_than_is_requested(self, tmp_path, monkeypatch):
        path, decoded, frames = write_film(tmp_path / "a.mp4", greys(), options=H264), [], FilmDecoder.frames
        monkeypatch.setattr(FilmDecoder, "frames", lambda self: (decoded.append(1) or frame for frame in frames(self)))
        for _ in zip(range(3), VideoFile(path), strict=False):
            pass
        assert len(decoded) <= 1 + 4

    def test_a_size_that_changes(self, tmp_path):
        parts = [write_film(tmp_path / f"{i}.h264", greys(3, height, 48)).read_bytes() for i, height in enumerate((32, 64))]
        (tmp_path / "a.h264").write_bytes(b"".join(parts))
        video = VideoFile(tmp_path / "a.h264")
        for read in (lambda: list(iter(video)), lambda: video[3], lambda: len(video)):
            with pytest.raises(DataError, match=r"a\.h264: frame 3 has 48x64 pixels, but frame 0 has 48x32. Convert the video"):
                read()
        assert video[2].shape == (32, 48, 3)

    def test_a_name_with_a_colon_is_no_protocol(self, tmp_path, monkeypatch):
        os.rename(write_film(tmp_path / "a.mp4", greys(3)), tmp_path / "pipe:1.mp4")
        monkeypatch.chdir(tmp_path)
        assert len(list(VideoFile("pipe:1.mp4"))) == 3

    @pytest.mark.parametrize("content", [b"", b"no video at all" * 100, None])
    def test_what_cannot_be_decoded(self, tmp_path, content):
        path = write_film(tmp_path / "a.mp4", greys(5))
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2] if content is None else content)  # an MP4 has its index at the end
        with pytest.raises(DataError) as caught:
            VideoFile(path)
        assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)

    def test_sound_alone(self, tmp_path):
        with av.open(str(tmp_path / "a.wav"), "w") as container:
            stream = container.add_stream("pcm_s16le", rate=8000)
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
            sound.rate = 8000
            container.mux(stream.encode(sound))
        with pytest.raises(DataError, match=r"a\.wav: the file contains no video stream"):
            VideoFile(tmp_path / "a.wav")

    def test_a_video_that_ends_early_warns(self, tmp_path):
        noise = np.random.default_rng(0).integers(0, 256, (40, 64, 64, 3), dtype=np.uint8)
        path = write_film(tmp_path / "a.mkv", noise)
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        video = VideoFile(path)
        with pytest.warns(UserWarning, match=r"ends after \d+ of about 40 frames"):
            assert 0 < len(list(iter(video))) < 30
        assert video.length_hint == len(video) < 30

    def test_a_name_that_cannot_name_a_sequence(self, tmp_path):
        (tmp_path / "..mp4").write_bytes(b"any")
        with pytest.raises(DataError, match=r"\.\.mp4: '\.' is not a valid sequence name"):
            VideoFile(tmp_path / "..mp4")

    def test_a_name_that_is_no_text(self, tmp_path):
        path = write_film(tmp_path / "a.mp4", greys(3))
        with contextlib.suppress(OSError):  # file systems that only accept UTF-8 raise OSError
            os.rename(path, strange := os.fsencode(tmp_path) + b"/\xff.mp4")
            assert len(VideoFile(os.fsdecode(strange))) == 3

    def test_a_title_that_is_not_utf_8(self, tmp_path):
        path = write_film(tmp_path / "a.mkv", greys(3), metadata={"title": "Kleider"})
        content = path.read_bytes()
        assert b"Kleider" in content
        path.write_bytes(content.replace(b"Kleider", b"Kl\xe4ider"))
        assert len(VideoFile(path)) == 3

    def test_missing_file_and_folder(self, tmp_path):
        for open_it in (VideoFile, open_video):
            with pytest.raises(DataError, match="no such file"):
                open_it(tmp_path / "a.mp4")
            with pytest.raises(DataError, match="a folder"):
                open_it(tmp_path)

    def test_without_pyav(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "av", None)
        (tmp_path / "a.mp4").write_bytes(b"any")
        with pytest.raises(DataError, match=r"pip install hmmn-jax\[video\]"):
            VideoFile(tmp_path / "a.mp4")
