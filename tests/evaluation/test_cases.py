"""Tests cases from bug reports about similar programs. The number in the name of a test identifies the report.

Five reports are covered elsewhere: 06 (`~` in paths) in `tests/test_evaluate.py`, 19 (arrays) in `tests/inference`, 20
(checkpoints) in `tests/test_convert_weights.py`, 21 (training sets) in `tests/data`, and 25 (interruptions) in `test_kill.py`.
"""

import os
import unicodedata

import numpy as np
import pytest
from PIL import Image

from hmmn_jax.io.movies import MovieWriter
from hmmn_jax.io.video_file import VideoFile
from tests.evaluation.harness import Repeating, contents, discs, read_ids, run_evaluate, save_frames, save_ids, save_video

FRAMES, MASKS = discs(6, objects=2)
ONE = np.where(MASKS == 1, MASKS, 0).astype(np.uint8)


@pytest.fixture
def root(tmp_path):
    save_frames(tmp_path / "f", FRAMES)
    save_ids(tmp_path / "m.png", ONE[0])
    return tmp_path


def own(root, **more):
    return run_evaluate(**({"frames": root / "f", "mask": root / "m.png", "output": root / "out"} | more))


@pytest.mark.parametrize("level", [255, 200])
def test_01_a_mask_with_smooth_edges(root, level):
    big = Image.fromarray((ONE[0] > 0).astype(np.uint8) * np.uint8(level)).resize((256, 192), Image.Resampling.NEAREST)
    big.resize((64, 48), Image.Resampling.BILINEAR).save(root / "m.png")
    done = own(root)
    assert done.code == 2 and f"{root / 'm.png'}: the mask contains" in done.err and "mask_values=threshold" in done.err
    assert not (root / "out").exists()
    done = own(root, fields={"mask_values": "threshold"})
    assert done.code == 0 and "object 1 (" in done.out


def test_03_a_binary_set_is_scored(tmp_path):
    save_frames(tmp_path / "in/JPEGImages/v", FRAMES)
    for t, ids in enumerate(ONE):
        (tmp_path / "in/Annotations/v").mkdir(parents=True, exist_ok=True)
        Image.fromarray(ids * np.uint8(255)).save(tmp_path / f"in/Annotations/v/{t:05d}.png")
    done = run_evaluate(data=tmp_path / "in", output=tmp_path / "out")
    assert done.code == 0 and "v                        1  0." in done.out, done
    assert (tmp_path / "out/report.html").is_file()
    assert run_evaluate(data=tmp_path / "in", score=tmp_path / "in/Annotations").out.splitlines()[1].split()[2] == "1.000"


def test_04_late_objects_are_scored(tmp_path):
    late = MASKS.copy()
    late[:2][late[:2] == 2] = 0
    save_video(tmp_path / "in", "a_both", FRAMES, MASKS)
    save_video(tmp_path / "in", "b_late", FRAMES, late)
    done = run_evaluate(fields={"late_objects": True}, data=tmp_path / "in", output=tmp_path / "out")
    assert done.code == 0 and "mean over objects        4" in done.out
    done = run_evaluate(data=tmp_path / "in", score=tmp_path / "in/Annotations")
    assert done.code == 0 and {line.split()[2] for line in done.out.splitlines()[1:3]} == {"1.000"}


@pytest.mark.parametrize("dead", [{3, 4}, {0}, set(range(6))])
def test_07_frames_that_are_broken_links(root, dead):
    (root / "links").mkdir()
    for t in range(6):
        os.symlink(root / ("gone" if t in dead else "f") / f"{t:05d}.jpg", root / f"links/{t:05d}.jpg")
    done = own(root, frames=root / "links")
    assert done.code == 2 and f"links/{min(dead):05d}.jpg: the path is a link to" in done.err
    assert f"{len(dead)} of 6 files" in done.err


def test_08_files_that_are_no_videos(tmp_path):
    save_video(tmp_path / "in", "a", FRAMES, MASKS)
    home = tmp_path / "in/JPEGImages"
    (home / "Thumbs.db").write_bytes(bytes(500))
    (home / "README.txt").write_text("how these were filmed\n")
    (home / "@eaDir/a").mkdir(parents=True)
    (home / "@eaDir/a/SYNOINDEX_MEDIA_INFO").write_bytes(b"x")
    (home / "a/.DS_Store").write_bytes(b"x")
    (home / "a/notes.txt").write_bytes(b"x")
    done = run_evaluate(data=tmp_path / "in", output=tmp_path / "out")
    assert done.code == 0 and "mean over objects" in done.out
    assert all(name in done.err for name in ("README.txt", "@eaDir", ".DS_Store", "notes.txt"))
    assert len(done.err.splitlines()) == 2


@pytest.mark.parametrize("spelled", ["..", "../", "../masks/..", "."])
def test_10_frames_given_as_dots(root, monkeypatch, spelled):
    save_frames(root / "clip", FRAMES)
    (root / "clip/masks").mkdir()
    save_ids(root / "clip/masks/m.png", ONE[0])
    (root / "RUN/precious").mkdir(parents=True)
    (root / "RUN/precious/notes.txt").write_text("keep")
    monkeypatch.chdir(root / "clip/masks" if spelled.startswith("..") else root / "clip")
    done = own(root, frames=spelled, mask=root / "clip/masks/m.png", output=root / "RUN")
    assert done.code == 0, done.err
    assert (root / "RUN/precious/notes.txt").read_text() == "keep" and len(list((root / "RUN/masks/clip").iterdir())) == 6


@pytest.mark.parametrize(("scale", "add"), [(16, 0), (8, 29000), (257, 0)])
def test_12_frames_of_16_bits(root, scale, add):
    class Looking(Repeating):
        def run(self, frames, mask, later=None):
            frames = list(frames)
            seen.extend(frames)
            return super().run(frames, mask, later)

    seen = []
    wide = (add + FRAMES.mean(-1) * scale).astype(np.uint16)
    save_frames(root / "wide", wide, "{:05d}.png")
    done = own(root, frames=root / "wide", segmenter=Looking())
    told = f"scaled by the range of values in the video: 1 video ({root / 'wide'}: {wide.min()} to {wide.max()})"
    assert done.code == 0 and told in done.err
    expected = (wide.astype(float) - wide.min()) / (int(wide.max()) - int(wide.min())) * 255
    assert np.abs(np.stack(seen)[..., 0] - expected).max() <= 1


def test_13_ids_with_gaps(tmp_path):
    save_video(tmp_path / "in", "v", FRAMES, np.where(MASKS == 1, 200, 0).astype(np.uint8))
    save_video(tmp_path / "pred", "v", FRAMES, MASKS * 0)
    done = run_evaluate(data=tmp_path / "in", score=tmp_path / "pred/Annotations", output=tmp_path / "out")
    assert done.code == 0 and done.out.splitlines()[-1].split()[3:5] == ["1", "0.000"]


def test_15_a_first_mask_that_is_not_of_the_first_frame(tmp_path):
    save_video(tmp_path / "in", "late", FRAMES, {2: MASKS[2]})
    done = run_evaluate(data=tmp_path / "in", output=tmp_path / "out")
    assert done.code == 2 and "To start at this frame, pass --config.late_objects=True." in done.err
    assert run_evaluate(fields={"late_objects": True}, data=tmp_path / "in", output=tmp_path / "out").code == 0


@pytest.mark.parametrize(("orientation", "turn"), [(3, lambda x: x[::-1, ::-1]), (6, lambda x: np.rot90(x, -1))])
def test_16_frames_that_exif_turns(root, orientation, turn):
    exif = Image.Exif()
    exif[274] = orientation
    save_frames(root / "turned", FRAMES, exif=exif)
    save_ids(root / "m.png", np.ascontiguousarray(turn(ONE[0])))
    done = own(root, frames=root / "turned")
    assert done.code == 0 and "rotated upright by their EXIF orientation" in done.err and "6 frames" in done.err
    save_ids(root / "m.png", ONE[0])
    done = own(root, frames=root / "turned", output=root / "stored")
    if orientation == 6:  # orientation 3 keeps the size, so the wrong mask is not detected
        assert done.code == 2 and "EXIF" in done.err and "upright" in done.err


def test_18_a_movie_keeps_the_rate_of_its_video_file(root):
    pytest.importorskip("av")
    with MovieWriter(root / "100% clip.mp4", 30) as movie:
        for frame in FRAMES:
            movie.write(frame)
    done = own(root, frames=root / "100% clip.mp4", movie="mp4")
    assert done.code == 0 and VideoFile(root / "out/movies/100% clip.mp4").fps == 30
    assert "WARNING" not in done.err


def test_22_a_sequence_that_cannot_be_scored_does_not_stop_the_others(tmp_path):
    save_video(tmp_path / "in", "good", FRAMES, MASKS)
    save_video(tmp_path / "in", "two", FRAMES[:2], MASKS[:2])
    save_video(tmp_path / "in", "gap", FRAMES, {t: MASKS[t] for t in (0, 1, 2, 4)})
    save_video(tmp_path / "in", "bare", FRAMES, MASKS[:1])
    done = run_evaluate(data=tmp_path / "in", output=tmp_path / "out")
    assert done.code == 0 and (tmp_path / "out/report.html").is_file()
    scored = {
        line.split()[0]: line.split()[1] for line in done.out.splitlines() if line.split()[0] in ("good", "two", "gap", "bare")
    }
    assert scored == {"good": "2", "two": "2", "gap": "2", "bare": "not"}
    assert "bare: the objects first appear in frame 00000, and no later frame is annotated" in done.err
    assert "videos with unannotated frames" in done.err or "video with unannotated frames (gap, 2 frames)" in done.err


def test_23_names_in_any_script_composed_or_not(tmp_path):
    for name in ("my clip #1 (50%)", "видео 視頻"):
        save_video(tmp_path / "in", name, FRAMES, MASKS)
    decomposed, composed = (unicodedata.normalize(form, "é") for form in ("NFD", "NFC"))
    save_frames(tmp_path / "in/JPEGImages/nfd", FRAMES, decomposed + "{}.jpg")
    save_ids(tmp_path / f"in/Annotations/nfd/{composed}0.png", MASKS[0])
    done = run_evaluate(data=tmp_path / "in", output=tmp_path / "out")
    assert done.code == 0 and len(contents(tmp_path / "out/masks")) == 18, done.err


@pytest.fixture
def film(tmp_path):
    """Writes JPEGImages/clip.mp4 and its first mask, in the folder layout of the `custom` config."""
    pytest.importorskip("av")
    (tmp_path / "in/JPEGImages").mkdir(parents=True)
    with MovieWriter(tmp_path / "in/JPEGImages/clip.mp4", 10) as movie:
        for frame in FRAMES:
            movie.write(frame)
    save_ids(tmp_path / "in/Annotations/clip.png", ONE[0])
    return tmp_path


def test_24_later_masks_of_a_video_file(film):
    save_ids(film / "in/Annotations/clip/00003.png", np.where(MASKS[3] == 2, MASKS[3], 0).astype(np.uint8))
    done = run_evaluate(data=film / "in", output=film / "out")
    assert done.code == 0 and "unless you pass --config.late_objects=True: 1 video (clip, object 2)" in done.err
    done = run_evaluate(fields={"late_objects": True}, data=film / "in", output=film / "late")
    assert done.code == 0 and set(np.unique(read_ids(film / "late/masks/clip/00004.png"))) == {0, 1, 2}
    save_ids(film / "in/Annotations/clip/00000.png", ONE[0])
    done = run_evaluate(data=film / "in", output=film / "twice")
    assert done.code == 2 and "are masks of the same frame. Keep only one" in done.err


def test_28_video_files_only(film):
    done = run_evaluate(data=film / "in", output=film / "out")
    assert done.code == 0 and "not scored: clip: the objects first appear in frame 00000, and no later" in done.err
    assert (film / "out/report.html").is_file()
    done = run_evaluate(data=film / "in", score=film / "out/masks")
    assert done.code == 2 and len([line for line in done.err.splitlines() if "NOTE" not in line]) == 2


def test_26_a_video_file_where_the_movie_would_be_written(film, monkeypatch):
    (film / "movies").mkdir()
    (film / "in/JPEGImages/clip.mp4").rename(film / "movies/clip.mp4")
    before = contents(film)
    monkeypatch.chdir(film)
    done = own(film, frames="movies/clip.mp4", mask=film / "in/Annotations/clip.png", output=".", movie="mp4")
    assert done.code == 2 and "contains movies without a record of a run" in done.err and contents(film) == before


ORDERS = {
    "download": ["frame.jpg", "frame (1).jpg", "frame (2).jpg", "frame (10).jpg"],
    "appended": ["scan.jpg", "scan1.jpg", "scan2.jpg", "scan10.jpg"],
    "spaced": ["image.jpg", "image 2.jpg", "image 10.jpg"],
    "underscore": ["cam.jpg", "cam_1.jpg", "cam_2.jpg"],
    "epochs": ["1305031102.075304.jpg", "1305031102.175304.jpg", "1305031103.000001.jpg"],
    "suffixes": ["1.png", "2.jpg", "3.jpeg", "10.png"],
    "dates": ["2024-01-02 09.05.01.jpg", "2024-01-02 09.05.02.jpg", "2024-01-02 10.00.00.jpg"],
}


@pytest.mark.parametrize("names", ORDERS.values(), ids=ORDERS)
def test_27_names_of_frames(root, names):
    (root / "named").mkdir()
    for name, frame in zip(names, FRAMES, strict=False):
        Image.fromarray(frame).save(root / "named" / name)
    shades = []

    class Looking(Repeating):
        def run(self, frames, mask, later=None):
            for frame in (frames := list(frames)):
                shades.append(np.abs(FRAMES.astype(int) - frame).mean(axis=(1, 2, 3)).argmin())
            return super().run(frames, mask, later)

    done = own(root, frames=root / "named", segmenter=Looking())
    assert done.code == 0 and shades == list(range(len(names)))
    assert ("order" in done.err) == (names != sorted(names)), done.err


@pytest.mark.parametrize(
    ("names", "order"),
    [(["0.jpg", "0.25.jpg", "0.5.jpg", "1.jpg", "1.25.jpg"], "decimal"), (["-2.jpg", "-1.jpg", "0.jpg", "1.jpg"], "signed")],
)
def test_27_names_that_can_be_read_in_two_ways(root, names, order):
    save_frames(root / "named", FRAMES[: len(names)], "{}.png")
    for t, name in enumerate(names):
        (root / f"named/{t}.png").rename(root / "named" / f"x{name}")
    for name in names:
        (root / "named" / f"x{name}").rename(root / "named" / name)
    done = own(root, frames=root / "named")
    assert done.code == 2 and "natural: " in done.err and f"{order}: {', '.join(names[:3])}" in done.err
    assert "order=natural|decimal|signed|name" in done.err
    assert own(root, frames=root / "named", fields={"order": order}).code == 0


def test_29_a_frame_of_another_size(root):
    Image.fromarray(FRAMES[3][:, :60]).save(root / "f/00003.jpg")
    done = own(root)
    assert done.code == 2 and "f/00003.jpg: the frame has 60x48 pixels, but 00000.jpg has 64x48" in done.err


def test_31_stacks(root):
    pictures = [Image.fromarray(frame) for frame in FRAMES]
    pictures[0].save(root / "stack.tif", save_all=True, append_images=pictures[1:])
    (root / "pages").mkdir()
    pictures[0].save(root / "pages/a.tif", save_all=True, append_images=pictures[1:3])
    pictures[3].save(root / "pages/b.tif")
    done = own(root, frames=root / "pages")
    assert done.code == 2 and "pages/a.tif: the image has 3 pages" in done.err
    done = own(root, frames=root / "stack.tif")
    assert done.code == 0 and len(contents(root / "out/masks")) == 6, done.err


def test_37_later_masks_without_the_switch(tmp_path):
    save_video(tmp_path / "in", "v", FRAMES, {0: ONE[0], 3: np.where(MASKS[3] == 2, MASKS[3], 0).astype(np.uint8)})
    done = run_evaluate(data=tmp_path / "in", output=tmp_path / "out")
    assert done.code == 0 and "unless you pass --config.late_objects=True: 1 video (v, object 2)" in done.err


@pytest.mark.parametrize("dtype", ["half", "float16", "fp16"])
def test_38_a_dtype_that_the_model_does_not_know(root, dtype):
    done = own(root, fields={"dtype": dtype})
    assert done.code == 2 and done.err.count("\n") == 1 and "config.dtype" in done.err and not (root / "out").exists()
