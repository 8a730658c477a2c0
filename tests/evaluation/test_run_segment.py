"""Tests `hmmn-jax segment` with settings that are chosen automatically from the video and the free memory."""

import pytest

from hmmn_jax.evaluation import fit
from hmmn_jax.io.movies import MovieWriter
from hmmn_jax.io.video_file import VideoFile
from tests.evaluation.harness import (
    Repeating,
    discs,
    read_ids,
    run_evaluate,
    save_ids,
    save_video,
)


class TestSegment:
    """Tests the argument `fit`, which lists the settings to choose automatically."""

    FIT = frozenset(("size", "max_memory_frames"))

    @pytest.fixture
    def film(self, tmp_path):
        """Writes a video of ten frames (640x504, 12.5 per second) and its first mask. Returns arguments of `run_evaluate`."""
        frames, masks = discs(10, 504, 640)
        with MovieWriter(tmp_path / "film.mp4", 12.5) as movie:
            for frame in frames:
                movie.write(frame)
        save_ids(tmp_path / "first.png", masks[0])
        return {"frames": tmp_path / "film.mp4", "mask": tmp_path / "first.png", "output": tmp_path / "run", "fit": self.FIT}

    def test_outputs_have_the_size_and_rate_of_the_video_file(self, film, tmp_path):
        segmenter = Repeating()
        done = run_evaluate(segmenter, movie="mp4", **film)
        assert (done.code, done.err) == (0, "")
        assert segmenter.given[0][0].shape == (480, 610)
        size, memory = done.out.splitlines()[1:3]
        assert size.startswith("The size of the network input is 610x480, scaled down from 640x504. ")
        assert memory.startswith("The maximum number of memory frames is 7, which is enough for the whole video. ")
        made = VideoFile(tmp_path / "run/movies/film.mp4")
        assert (made.size, made.fps, len(made)) == ((504, 640), 12.5, 10)
        assert read_ids(tmp_path / "run/masks/film/00009.png").shape == (504, 640)

    def test_other_free_memory_does_not_keep_a_run_from_being_resumed(self, film, monkeypatch):
        fields = {"mem_every": 1}
        monkeypatch.setattr(fit, "free_bytes", lambda: 10**12)
        done = run_evaluate(fields=dict(fields), **film)
        assert done.code == 0 and "is 15, which is enough" in done.out
        monkeypatch.setattr(fit, "free_bytes", lambda: 0)
        done = run_evaluate(fields=dict(fields), **film)
        assert done.code == 0 and "is 15, as in the earlier run" in done.out
        assert "1 of 1 videos are already complete" in done.err
        done = run_evaluate(fields=dict(fields), **film, overwrite=True)
        assert done.code == 0 and "is 7 (the whole video needs 9), because 0.0 GB are free" in done.out

    def test_benchmarks_choose_nothing(self, own, tmp_path):
        done = run_evaluate(data=own, output=tmp_path / "run", fit=self.FIT)
        assert done.code == 2 and "settings can be chosen automatically only for a single video" in done.err
        done = run_evaluate(data=own, output=tmp_path / "run")
        assert done.code == 0 and "network input" not in done.out and "memory frames" not in done.out

    def test_movies_that_cannot_have_the_size_of_their_video_are_noted(self, tmp_path):
        frames, masks = (stack[:, :45] for stack in discs(3))
        save_video(tmp_path / "in", "odd", frames, masks[:1])
        done = run_evaluate(data=tmp_path / "in", output=tmp_path / "run", movie="mp4")
        assert done.code == 0 and "because H.264 requires an even width and height: 1 video (odd, 64x45)" in done.err
