"""Masks on disk, by `predict`, on tiny clips made here; the segmenter itself is tested elsewhere."""

import dataclasses
import errno
import os
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from hmmn_jax.errors import DataError
from hmmn_jax.evaluation import predict as module
from hmmn_jax.evaluation.clips import Clip, open_sequence, open_video, read_given
from hmmn_jax.evaluation.outputs import Outputs
from hmmn_jax.evaluation.pictures import MovieWriter
from hmmn_jax.inference import Result, Segmenter
from hmmn_jax.layouts import Sequence, davis_palette, read_folder

HEIGHT, WIDTH, FRAMES = 32, 48, 5


class Parrot(Segmenter):
    """Stands in for a segmenter: gives masks known beforehand, so that what is written can be told from what was found."""

    def __init__(self, masks):
        self.masks, self.runs = masks, 0

    def run(self, frames, mask, later=None):
        assert np.array_equal(mask, self.masks[0])
        self.runs += 1
        ids = np.unique(self.masks)
        for index, _ in enumerate(frames):
            if index:
                yield Result(self.masks[index], (self.masks[index] == ids[:, None, None]).astype(np.float32), None, ids)


def predict(segmenter, clips, outputs):
    """By one segmenter, with no failure."""
    cost, failures = module.predict([segmenter], clips, outputs)
    assert failures == {}
    return cost


def failure(segmenter, clip, outputs):
    """What went wrong with the only clip."""
    _, failures = module.predict([segmenter], [clip], outputs)
    assert list(failures) == [clip.name]
    return failures[clip.name]


@pytest.fixture
def clip(tmp_path):
    """Frames with names that start at 3, masks with ids 2 and 9, in a folder."""
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
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


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
    """Outside of objects an overlay is its frame, pixel for pixel: a shift in time or space would show."""
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
    bad = sequence.frames[3]
    bad.write_bytes(bad.read_bytes()[:200])
    outputs = Outputs(tmp_path / "run", overlays=True, movie="gif", save_scores=True)
    assert bad.name in failure(Parrot(masks), open_sequence(sequence), outputs)
    assert files(tmp_path / "run") == []


def test_a_frame_of_another_size_is_an_error(clip, tmp_path):
    sequence, masks = clip
    Image.new("RGB", (WIDTH + 2, HEIGHT)).save(sequence.frames[2])
    said = failure(Parrot(masks), open_sequence(sequence), Outputs(tmp_path / "run"))
    assert "50x32 after frames of 48x32" in said


def test_a_video_of_one_frame_has_nothing_to_segment(clip, tmp_path):
    sequence, masks = clip
    short = Sequence(sequence.name, sequence.frames[:1], sequence.masks)
    assert "1 frame" in failure(Parrot(masks), open_sequence(short), Outputs(tmp_path / "run"))
    assert files(tmp_path / "run") == []


def test_no_object_at_all_is_background_and_a_warning(clip, tmp_path):
    sequence, masks = clip
    Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint8)).save(sequence.masks[0])
    with pytest.warns(UserWarning, match="no object"):
        predict(Parrot(masks * 0), [open_sequence(sequence)], Outputs(tmp_path / "run"))
    assert len(files(tmp_path / "run")) == FRAMES


@pytest.mark.parametrize(("width", "fits"), [(WIDTH - 1, True), (WIDTH - 2, False)])
def test_a_mask_of_another_size(clip, tmp_path, width, fits):
    sequence, _ = clip
    Image.fromarray(np.ones((HEIGHT, width), np.uint8)).save(sequence.masks[0])
    if fits:
        with pytest.warns(UserWarning, match="resized"):
            assert read_given(open_sequence(sequence), HEIGHT, WIDTH)[0].shape == (HEIGHT, WIDTH)
    else:
        with pytest.raises(DataError, match=f"{width}x{HEIGHT}.*{WIDTH}x{HEIGHT}"):
            read_given(open_sequence(sequence), HEIGHT, WIDTH)


def test_a_missing_first_mask_is_named(clip):
    sequence, _ = clip
    with pytest.raises(DataError, match=f"cat.*{sequence.frames[0].name}"):
        open_sequence(Sequence(sequence.name, sequence.frames, {}))


def test_a_full_disk_is_told_and_the_others_go_on(clip, tmp_path, monkeypatch):
    sequence, masks = clip
    clips = [dataclasses.replace(open_sequence(sequence), name=name) for name in ("ant", "bee", "cow")]
    replace = os.replace

    def full(source, target):
        if "bee" in str(target) and "00006" in str(target):
            raise OSError(errno.ENOSPC, "No space left on device")
        return replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    _, failures = module.predict([Parrot(masks)], clips, Outputs(tmp_path / "run"))
    assert list(failures) == ["bee"] and "No space left" in failures["bee"]
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["masks"]
    assert sorted(path.name for path in (tmp_path / "run" / "masks").iterdir()) == ["ant", "cow"]
    monkeypatch.undo()
    parrot = Parrot(masks)
    predict(parrot, clips, Outputs(tmp_path / "run"))  # again, with space: the missing one alone
    assert parrot.runs == 1 and len(files(tmp_path / "run")) == 3 * FRAMES


def test_memory_that_runs_out_is_a_failure_of_its_clip(clip, tmp_path):
    class Full(Parrot):
        def run(self, frames, mask, later=None):
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")

    sequence, masks = clip
    assert "max_memory_frames" in failure(Full(masks), open_sequence(sequence), Outputs(tmp_path / "run"))


def test_a_folder_that_cannot_be_made(clip, tmp_path):
    sequence, masks = clip
    (tmp_path / "file").write_text("")
    assert "cannot be written" in failure(Parrot(masks), open_sequence(sequence), Outputs(tmp_path / "file" / "run"))


def test_what_is_there_is_left_alone_until_its_files_change_or_more_is_wanted(clip, tmp_path):
    sequence, masks = clip
    parrot, outputs = Parrot(masks), Outputs(tmp_path / "run")
    for _ in range(2):
        predict(parrot, [open_sequence(sequence)], outputs)
    assert parrot.runs == 1
    predict(parrot, [open_sequence(sequence)], dataclasses.replace(outputs, overlays=True))
    assert parrot.runs == 2
    later = (outputs.folder / "masks" / "cat").stat().st_mtime + 10
    os.utime(sequence.masks[0], (later, later))
    predict(parrot, [open_sequence(sequence)], outputs)
    assert parrot.runs == 3
    os.utime(sequence.masks[0], (0, 0))
    (outputs.folder / "masks" / "cat" / "00005.png").unlink()
    predict(parrot, [open_sequence(sequence)], outputs)
    assert parrot.runs == 4 and len(list((outputs.folder / "masks" / "cat").iterdir())) == FRAMES


def test_leftovers_of_a_killed_run_are_cleared_away(clip, tmp_path):
    sequence, masks = clip
    left = tmp_path / "run" / ".parts" / "cat" / "masks" / "99999.png"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    predict(Parrot(masks), [open_sequence(sequence)], Outputs(tmp_path / "run"))
    assert files(tmp_path / "run") == [f"masks/cat/{t + 3:05d}.png" for t in range(FRAMES)]


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
    predict(Parrot(masks), [open_sequence(sequence)], Outputs(tmp_path / "run", save_scores=True))
    for t in (0, 3):
        with np.load(tmp_path / "run" / "scores" / "cat" / f"{t + 3:05d}.npz") as saved:
            assert saved["probs"].dtype == np.float16 and saved["ids"].tolist() == [0, 2, 9]
            assert np.array_equal(saved["ids"][saved["probs"].argmax(0)], masks[t])


def test_a_video_file_gives_numbered_frames(clip, tmp_path):
    pytest.importorskip("imageio_ffmpeg")
    sequence, masks = clip
    with MovieWriter(tmp_path / "cat.mp4", 10) as movie:
        for frame in sequence.frames:
            movie.write(np.asarray(Image.open(frame)))
    predict(Parrot(masks), [open_video(tmp_path / "cat.mp4", sequence.masks[0])], Outputs(tmp_path / "run"))
    assert files(tmp_path / "run") == [f"masks/cat/{t:05d}.png" for t in range(FRAMES)]


def test_compilation_is_counted_apart(clip, tmp_path):
    """What compiles inside a run is seen: a program never met before takes time, and the second run has none to compile."""
    sequence, masks = clip
    program = jax.jit(lambda x: sum(jax.numpy.sin(x * k) for k in range(50)))

    class Compiling(Parrot):
        def run(self, frames, mask, later=None):
            program(np.float32(0)).block_until_ready()
            yield from super().run(frames, mask)

    first, second = (predict(Compiling(masks), [open_sequence(sequence)], Outputs(tmp_path / str(i))) for i in range(2))
    assert first.compile_seconds > 0 and second.compile_seconds == 0


def test_length_of_a_clip():
    assert len(Clip("a", ("0", "1", "2"), (), {0: Path("mask.png")})) == 3
