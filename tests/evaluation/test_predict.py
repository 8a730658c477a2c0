"""Tests the files that `predict` writes for tiny generated clips. The segmenter is a stub."""

import dataclasses
import errno
import os
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from hmmn_jax.datasets.folders import VideoFiles, read_folder
from hmmn_jax.errors import DataError
from hmmn_jax.evaluation import predict as module
from hmmn_jax.evaluation.clips import Clip, open_film, open_sequence
from hmmn_jax.evaluation.outputs import Outputs
from hmmn_jax.inference import Result, Segmenter
from hmmn_jax.io.movies import MovieWriter
from hmmn_jax.io.palette import davis_palette
from hmmn_jax.io.video import ArrayVideo
from hmmn_jax.io.video_file import VideoFile

HEIGHT, WIDTH, FRAMES = 32, 48, 5


class Parrot(Segmenter):
    """A stub segmenter that returns known masks. Tests compare the written masks with the known masks."""

    def __init__(self, masks):
        self.masks, self.runs = masks, 0

    def run(self, frames, mask, later=None):
        assert np.array_equal(mask, self.masks[0])
        self.runs += 1
        ids = np.unique(self.masks)
        for index, _ in enumerate(frames):
            if index:
                yield Result(self.masks[index], (self.masks[index] == ids[:, None, None]).astype(np.float32), None, ids)


def attempt(segmenter, clips, outputs):
    """Locks the output folder and runs `predict` with one segmenter. Returns the cost and a dict from clip names to errors."""
    with outputs.run.locked():
        outputs.run.claim({})
        return module.predict([segmenter], clips, outputs)


def predict(segmenter, clips, outputs):
    """Runs `predict`, asserts that no clip fails, and returns the cost."""
    cost, failures = attempt(segmenter, clips, outputs)
    assert failures == {}
    return cost


def failure(segmenter, clip, outputs):
    """Runs `predict` with one clip, asserts that the clip fails, and returns the error."""
    _, failures = attempt(segmenter, [clip], outputs)
    assert list(failures) == [clip.name]
    return failures[clip.name]


@pytest.fixture
def clip(tmp_path):
    """Writes frames 00003.jpg, ... and the first mask. Returns the paths, and the masks of all frames with the ids 2 and 9."""
    rng = np.random.default_rng(0)
    masks = np.zeros((FRAMES, HEIGHT, WIDTH), np.uint8)
    folder = tmp_path / "JPEGImages" / "cat"
    folder.mkdir(parents=True)
    for t in range(FRAMES):
        masks[t, 4 : 12 + t, 5:20] = 2
        masks[t, 15:25, 20 + t : 40] = 9
        Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)).save(folder / f"{t + 3:05d}.jpg")
    Image.fromarray(masks[0]).save(tmp_path / "first.png")
    return read_folder(folder, tmp_path / "first.png"), masks


def files(folder: Path):
    """Returns the relative paths of all files, except the record of the run."""
    names = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(str(name) for name in names if name.parts[0] != "record")


def test_masks_keep_names_ids_and_palette(clip, tmp_path):
    sequence, masks = clip
    cost = predict(Parrot(masks), [open_sequence(sequence)], Outputs(tmp_path / "run"))
    assert files(tmp_path / "run") == [f"masks/cat/{t + 3:05d}.png" for t in range(FRAMES)]
    assert cost.frames == FRAMES - 1 and cost.seconds > 0 and cost.peak_megabytes > 10
    for t in range(FRAMES):
        with Image.open(tmp_path / "run" / "masks" / "cat" / f"{t + 3:05d}.png") as image:
            assert image.mode == "P"
            assert np.array_equal(np.asarray(image), masks[t])
            assert image.getpalette()[:768] == davis_palette().ravel().tolist()


def test_overlays_lie_on_their_own_frames(clip, tmp_path):
    """An overlay equals its frame exactly outside of objects, so the test detects shifts in time or space."""
    sequence, masks = clip
    predict(Parrot(masks), [open_sequence(sequence)], Outputs(tmp_path / "run", overlays=True, movie="gif"))
    for t, frame in enumerate(sequence.frames):
        picture = np.asarray(Image.open(tmp_path / "run" / "overlays" / "cat" / f"{frame.stem}.png"))
        background = masks[t] == 0
        assert np.array_equal(picture[background], np.asarray(Image.open(frame))[background])
        assert not np.array_equal(picture[~background], np.asarray(Image.open(frame))[~background])
    with Image.open(tmp_path / "run" / "movies" / "cat.gif") as movie:
        assert movie.n_frames == FRAMES


def test_a_damaged_frame_in_the_middle_is_named_and_leaves_nothing(clip, tmp_path):
    sequence, masks = clip
    bad, opened = sequence.frames[3], open_sequence(sequence)
    bad.write_bytes(bad.read_bytes()[:200])
    outputs = Outputs(tmp_path / "run", overlays=True, movie="gif", save_probabilities=True)
    assert bad.name in failure(Parrot(masks), opened, outputs)
    with pytest.raises(DataError, match=bad.name):
        open_sequence(sequence)
    assert files(tmp_path / "run") == []


def test_a_frame_of_another_size_is_named_before_anything_is_segmented(clip, tmp_path):
    sequence, masks = clip
    opened = open_sequence(sequence)
    Image.new("RGB", (WIDTH + 2, HEIGHT)).save(sequence.frames[2])
    with pytest.raises(DataError, match=r"00005.jpg.*50x32"):
        open_sequence(sequence)
    assert "00005.jpg" in failure(Parrot(masks), opened, Outputs(tmp_path / "run"))  # the file changed after `open_sequence`


def test_a_video_of_one_frame_has_nothing_to_segment(clip, tmp_path):
    sequence, masks = clip
    short = VideoFiles(sequence.name, sequence.frames[:1], sequence.masks)
    assert "1 frame" in failure(Parrot(masks), open_sequence(short), Outputs(tmp_path / "run"))
    assert files(tmp_path / "run") == []


def test_no_object_at_all_is_background(clip, tmp_path):
    sequence, masks = clip
    Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint8)).save(sequence.masks[0])
    predict(Parrot(masks * 0), [open_sequence(sequence)], Outputs(tmp_path / "run"))
    assert len(files(tmp_path / "run")) == FRAMES


@pytest.mark.parametrize(("width", "fits"), [(WIDTH - 1, True), (WIDTH - 2, False)])
def test_a_mask_of_another_size(clip, tmp_path, width, fits):
    sequence, _ = clip
    Image.fromarray(np.ones((HEIGHT, width), np.uint8)).save(sequence.masks[0])
    if fits:
        with pytest.warns(UserWarning, match="resized"):
            assert open_sequence(sequence).read_given(HEIGHT, WIDTH)[0].shape == (HEIGHT, WIDTH)
    else:
        with pytest.raises(DataError, match=f"{width}x{HEIGHT}.*{WIDTH}x{HEIGHT}"):
            open_sequence(sequence).read_given(HEIGHT, WIDTH)


def test_a_missing_first_mask_is_named(clip):
    sequence, _ = clip
    with pytest.raises(DataError, match=f"cat.*{sequence.frames[0].name}"):
        open_sequence(VideoFiles(sequence.name, sequence.frames, {}))


def test_a_full_disk_is_reported_and_the_others_continue(clip, tmp_path, monkeypatch):
    sequence, masks = clip
    clips = [dataclasses.replace(open_sequence(sequence), name=name) for name in ("ant", "bee", "cow")]
    replace = os.replace

    def full(source, target):
        # Compare whole path components, because the name of a temporary folder may contain "bee" or "masks".
        if {"bee", "masks"} <= set(Path(target).parts):
            raise OSError(errno.ENOSPC, "No space left on device")
        return replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    _, failures = attempt(Parrot(masks), clips, Outputs(tmp_path / "run"))
    assert list(failures) == ["bee"] and "No space left" in failures["bee"]
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["masks", "record"]
    assert sorted(path.name for path in (tmp_path / "run" / "masks").iterdir()) == ["ant", "cow"]
    monkeypatch.undo()
    parrot = Parrot(masks)
    predict(parrot, clips, Outputs(tmp_path / "run"))  # the disk has space again, so only the missing clip is segmented
    assert parrot.runs == 1 and len(files(tmp_path / "run")) == 3 * FRAMES


def test_memory_that_runs_out_is_a_failure_of_its_clip(clip, tmp_path):
    class Full(Parrot):
        def run(self, frames, mask, later=None):
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")

    sequence, masks = clip
    assert "max_memory_frames" in failure(Full(masks), open_sequence(sequence), Outputs(tmp_path / "run"))


def test_what_is_there_does_not_change_until_its_files_change_or_more_is_wanted(clip, tmp_path):
    """Changed inputs are detected by digest, not by modification time."""
    sequence, masks = clip
    parrot, outputs = Parrot(masks), Outputs(tmp_path / "run")

    def runs(outputs=outputs):
        predict(parrot, [open_sequence(sequence)], outputs)
        return parrot.runs

    assert [runs(), runs()] == [1, 1]
    assert [runs(dataclasses.replace(outputs, overlays=True)) for _ in range(2)] == [2, 2]
    assert runs() == 2  # no overlays are requested, and all masks exist
    os.utime(sequence.masks[0], (0, 2**31))
    assert runs() == 2
    (outputs.folder / "masks" / "cat" / "00005.png").unlink()
    assert runs() == 3
    frame = Image.open(sequence.frames[3])
    frame.putpixel((0, 0), (255, 0, 255))
    frame.save(sequence.frames[3])
    assert [runs(), runs()] == [4, 4] and len(list((outputs.folder / "masks" / "cat").iterdir())) == FRAMES
    gif = dataclasses.replace(outputs, movie="gif")
    assert [runs(gif), runs(gif), runs(dataclasses.replace(gif, fps=5.0))] == [5, 5, 6]


def test_what_a_user_put_into_the_folder_stays(clip, tmp_path):
    sequence, masks = clip
    outputs, opened = Outputs(tmp_path / "run"), open_sequence(sequence)
    predict(Parrot(masks), [opened], outputs)
    ours = tmp_path / "run/masks/cat/00005.png"
    for path in (ours, ours.with_name("notes.txt")):
        path.write_text("the user's")
    parrot = Parrot(masks)
    assert f"{ours} was not written by this program, or was changed later" in failure(parrot, opened, outputs)
    assert parrot.runs == 0 and ours.read_text() == "the user's"
    ours.unlink()
    predict(parrot, [opened], outputs)
    assert parrot.runs == 1 and len(files(tmp_path / "run")) == FRAMES + 1


def test_a_folder_that_is_removed_in_the_meantime_is_reported_and_does_not_come_back(clip, tmp_path):
    sequence, masks = clip

    class Removing(Parrot):
        def run(self, frames, mask, later=None):
            for index, result in enumerate(super().run(frames, mask)):
                if index == 1:
                    (tmp_path / "run").rename(tmp_path / "elsewhere")
                yield result

    said = failure(Removing(masks), open_sequence(sequence), Outputs(tmp_path / "run"))
    assert "the folder was removed or moved during the run" in said
    assert not (tmp_path / "run").exists()


def test_each_process_takes_its_share(clip, tmp_path, monkeypatch):
    sequence, masks = clip
    clips = [dataclasses.replace(open_sequence(sequence), name=name) for name in "abcde"]
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    for process, share in enumerate((3, 2)):
        monkeypatch.setattr(jax, "process_index", lambda process=process: process)
        parrot = Parrot(masks)
        predict(parrot, clips, Outputs(tmp_path / "run"))
        assert parrot.runs == share
    assert len(files(tmp_path / "run")) == 5 * FRAMES


def test_probabilities_on_disk(clip, tmp_path):
    sequence, masks = clip
    predict(Parrot(masks), [open_sequence(sequence)], Outputs(tmp_path / "run", save_probabilities=True))
    for t in (0, 3):
        with np.load(tmp_path / "run" / "probabilities" / "cat" / f"{t + 3:05d}.npz") as saved:
            assert saved["probs"].dtype == np.float16 and saved["ids"].tolist() == [0, 2, 9]
            assert np.array_equal(saved["ids"][saved["probs"].argmax(0)], masks[t])


def test_a_video_file_gives_numbered_frames(clip, tmp_path):
    pytest.importorskip("av")
    sequence, masks = clip
    with MovieWriter(tmp_path / "cat.mp4", 10) as movie:
        for frame in sequence.frames:
            movie.write(np.asarray(Image.open(frame)))
    predict(Parrot(masks), [open_film(tmp_path / "cat.mp4", sequence.masks)], Outputs(tmp_path / "run"))
    assert files(tmp_path / "run") == [f"masks/cat/{t:05d}.png" for t in range(FRAMES)]


def test_a_movie_has_the_rate_of_its_video(clip, tmp_path):
    pytest.importorskip("av")
    sequence, masks = clip
    with MovieWriter(tmp_path / "cat.mp4", 30) as movie:
        for frame in sequence.frames:
            movie.write(np.asarray(Image.open(frame)))
    video = open_film(tmp_path / "cat.mp4", sequence.masks)
    predict(Parrot(masks), [video], Outputs(tmp_path / "run", movie="mp4"))
    assert VideoFile(tmp_path / "run/movies/cat.mp4").fps == 30
    predict(Parrot(masks), [open_sequence(sequence)], Outputs(tmp_path / "images", movie="mp4"))
    assert VideoFile(tmp_path / "images/movies/cat.mp4").fps == 10


def test_compilation_is_counted_apart(clip, tmp_path):
    """Compilation time is measured separately. The first run compiles a program, and the second run compiles nothing."""
    sequence, masks = clip
    program = jax.jit(lambda x: sum(jax.numpy.sin(x * k) for k in range(50)))

    class Compiling(Parrot):
        def run(self, frames, mask, later=None):
            program(np.float32(0)).block_until_ready()
            yield from super().run(frames, mask)

    first, second = (predict(Compiling(masks), [open_sequence(sequence)], Outputs(tmp_path / str(i))) for i in range(2))
    assert first.compile_seconds > 0 and second.compile_seconds == 0


def test_length_of_a_clip():
    video = ArrayVideo(np.zeros((3, 4, 8, 3), np.uint8))
    assert len(Clip("a", video, {0: Path("mask.png")})) == 3


@pytest.mark.parametrize(("frames", "told"), [(21, 1), (20, 0)])
def test_the_remaining_time_is_reported_after_ten_frames(tmp_path, capsys, frames, told):
    """After ten frames, the remaining time is printed once if at least ten frames are left."""
    masks = np.zeros((frames, 16, 16), np.uint8)
    masks[:, 4:8, 4:8] = 1
    Image.fromarray(masks[0]).save(tmp_path / "first.png")
    clip = Clip("v", ArrayVideo(np.zeros((frames, 16, 16, 3), np.uint8)), {0: tmp_path / "first.png"})
    predict(Parrot(masks), [clip], Outputs(tmp_path / "run"))
    lines = capsys.readouterr().err.replace("\r", "\n").splitlines()
    found = [line.strip() for line in lines if "remaining time" in line]
    assert len(found) == told and all(line.startswith("10 of 20 frames were segmented in ") for line in found)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (3599.0, "59 min 59 s"), (7500.0, "2 h 5 min")]
)
def test_durations(seconds, text):
    assert module._duration(seconds) == text
