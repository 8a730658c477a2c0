"""Tests videos made of image files: reading frames by index, 16-bit images, and pages of a TIFF."""

import pickle
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from hmmn_jax.datasets.folders import VideoFiles
from hmmn_jax.errors import DataError
from hmmn_jax.io.image_video import ImageVideo
from hmmn_jax.io.images import read_image
from hmmn_jax.io.inspection import FrameFacts
from hmmn_jax.io.notes import Notes
from hmmn_jax.io.video_file import open_video


def save(path, pixels, **options):
    Image.fromarray(pixels).save(path, **options)
    return path


def ramp(low, high):
    return np.linspace(low, high, 32).round().astype(np.uint16).reshape(4, 8)


def test_frames_by_index_and_in_turn(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 8, 3), dtype=np.uint8)
    sequence = VideoFiles("a", tuple(save(tmp_path / f"{i}.png", p) for i, p in enumerate(pixels)), {})
    frames = sequence.images
    assert len(frames) == 3 and frames.range_in_use is None and sequence.images is frames
    np.testing.assert_array_equal(frames[2], pixels[2])
    for _ in range(2):
        np.testing.assert_array_equal(np.stack(list(frames)), pixels)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(sequence)).images[-1], pixels[-1])
    with pytest.raises(IndexError):
        frames[3]


def test_a_frame_that_changed_its_size_since(tmp_path):
    paths = [save(tmp_path / f"{i}.png", np.zeros((4, 8, 3), np.uint8)) for i in range(2)]
    frames = ImageVideo(paths)
    assert frames[0].shape == (4, 8, 3)
    save(paths[1], np.zeros((4, 6, 3), np.uint8))
    with pytest.raises(DataError, match=r"1\.png: the frame has 6x4 pixels, but 0\.png has 8x4"):
        frames[1]


def pgm(path, pixels, greatest):
    path.write_bytes(b"P5 %d %d %d\n" % (pixels.shape[1], pixels.shape[0], greatest) + pixels.astype(">u2").tobytes())
    return path


class TestSixteenBits:
    @pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
    def test_one_range_for_the_whole_sequence(self, tmp_path, suffix):
        pixels = [ramp(29000, 30000), ramp(29500, 31000)]
        write = save if suffix != ".pgm" else lambda path, p: pgm(path, p, 65535)
        frames = ImageVideo([write(tmp_path / f"{i}{suffix}", p) for i, p in enumerate(pixels)])
        for frame, wide in zip(frames, pixels, strict=True):
            expected = np.array([round((int(value) - 29000) * 255 / 2000) for value in wide.ravel()]).reshape(4, 8)
            assert frame.dtype == np.uint8
            np.testing.assert_array_equal(frame, np.stack([expected] * 3, -1))
        notes = Notes()
        assert frames.inspect(notes) == FrameFacts(8, 4, sixteen=2)
        assert notes.lines() == [
            f"16-bit frames are scaled by the range of values in the video: 1 video ({tmp_path}: 29000 to 31000)"
        ]

    def test_one_image_alone_and_a_flat_one(self, tmp_path):
        image = read_image(save(tmp_path / "a.png", ramp(100, 4000)))
        assert (image.min(), image.max()) == (0, 255)
        assert not read_image(save(tmp_path / "b.png", ramp(500, 500))).any()

    def test_signed_values_count_and_32_bits_do_not(self, tmp_path):
        path = tmp_path / "a.tif"
        entries = [(256, 2), (257, 1), (258, 16), (259, 1), (262, 1), (273, 122), (278, 1), (279, 4), (339, 2)]
        directory = b"".join(struct.pack("<HHII", tag, 3, 1, value) for tag, value in entries)
        content = b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + b"\0" * 4
        path.write_bytes(content.ljust(122, b"\0") + struct.pack("<hh", -300, 700))
        np.testing.assert_array_equal(read_image(path)[..., 0], [[0, 255]])
        with pytest.raises(DataError, match="32-bit pixels"):
            read_image(save(tmp_path / "b.tif", np.zeros((2, 2), np.int32)))

    def test_colour_of_which_little_would_be_left(self, tmp_path):
        def png(name, top):
            def chunk(kind, data):
                return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

            row = b"\0" + np.linspace(0, top, 24).astype(">u2").tobytes()
            header = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 1, 16, 2, 0, 0, 0))
            path = tmp_path / name
            path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b""))
            return path

        dark, light = png("dark.png", 4095), png("light.png", 65535)
        for read in (lambda: read_image(dark), lambda: ImageVideo([dark])[0]):
            with pytest.raises(DataError, match=r"dark\.png: .* 16 of 256 levels would remain .* 8 bits per channel"):
                read()
        assert ImageVideo([dark, light])[0].max() == 15 and read_image(light).max() == 255


class TestStacks:
    def test_pages_are_frames(self, tmp_path):
        pages = [Image.fromarray(ramp(1000, 1000 + 255 * i)) for i in (1, 2, 4)]
        pages[0].save(tmp_path / "film.tif", save_all=True, append_images=pages[1:])
        video, notes = open_video(tmp_path / "film.tif"), Notes()
        assert (video.fps, video.length_hint, video.inspect(notes)) == (0, 3, FrameFacts(8, 4, sixteen=3))
        assert notes.lines()[0].endswith(f"1 video ({tmp_path}/film.tif: 1000 to 2020)")
        for _ in range(2):
            assert [frame.max() for frame in video] == [64, 128, 255]

    def test_pages_of_other_sizes(self, tmp_path):
        pages = [Image.new("RGB", size) for size in ((8, 4), (4, 2))]
        pages[0].save(tmp_path / "film.tif", save_all=True, append_images=pages[1:])
        with pytest.raises(DataError, match=r"film\.tif: the frame has 4x2 pixels"):
            open_video(tmp_path / "film.tif").inspect()
