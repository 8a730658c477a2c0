"""Tests sessions with several kinds of videos, the confidence of masks, exports, and the example in docs/session.md."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import hmmn_jax
from hmmn_jax import Session
from hmmn_jax.io import bundled
from hmmn_jax.io.video_file import VideoFile
from tests.session.examples import FRAMES, box, make, run
from tests.session.stub import Stub
from tests.small import rectangles

ROOT = Path(__file__).parents[2]


def assert_reversed(session, other):
    count = len(session)
    for t in range(count):
        assert np.array_equal(session.masks[t], other.masks[count - 1 - t])
        assert np.array_equal(session.result(t).probs, other.result(count - 1 - t).probs)


def test_backwards_on_a_video_file_is_forwards_on_the_reversed_video_file(tmp_path, monkeypatch):
    pytest.importorskip("av")
    from tests.io.test_video_file import H264, greys, write_film

    film = write_film(tmp_path / "a.mp4", greys(20), options=H264)
    monkeypatch.setattr("hmmn_jax.io.video_file._BACKWARDS_BYTES", 7 * 3 * 32 * 48)  # chunks of 7 frames
    decoded = np.stack(list(iter(VideoFile(film))))
    mask = rectangles((1, 2), 70, 48)[16:48]
    backward, forward = Session(Stub(), str(film)), Session(Stub(), decoded[::-1])
    backward.annotate(19, mask)
    forward.annotate(0, mask)
    assert run(backward) == [(19 - t, final) for t, final in run(forward)]
    assert_reversed(backward, forward)


def test_a_folder_is_a_video(tmp_path):
    for t, frame in enumerate(FRAMES):
        Image.fromarray(frame).save(tmp_path / f"{t}.png")
    session, other = make({3: box(1)}, tmp_path), make({3: box(1)}, list(FRAMES))
    run(session), run(other)
    assert all(np.array_equal(session.masks[t], other.masks[t]) for t in range(9))


def test_memory_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    small, large = make({0: box(1), 7: box(1, 2)}, memory=200), make({0: box(1), 7: box(1, 2)})
    for session in (small, large):
        run(session)
    assert small._pool.used <= 200 < large._pool.used
    (folder,) = tmp_path.iterdir()
    assert len(list(folder.iterdir())) > 5
    assert all(np.array_equal(small.result(t).probs, large.result(t).probs) for t in range(9))
    del small
    del session
    assert list(tmp_path.iterdir()) == []


def test_what_exports_take():
    session = make({0: box(1)})
    run(session, 0, 3)
    assert np.array_equal(session.find(2).mask, session.masks[2]) and session.find(8) is None


def test_confidence_is_nan_where_an_object_is_absent():
    session = make({0: box(1, 2), 4: box(1)})
    assert math.isnan(session.confidence[1, 1])  # frame 1 was never computed
    run(session)
    assert session.confidence[0, 2] == 1 and math.isnan(session.confidence[4, 2]) and math.isnan(session.confidence[4, 77])
    for t in range(9):
        present = {*np.unique(session.masks[t]).tolist()} - {0}
        assert {k for k in (1, 2) if not math.isnan(session.confidence[t, k])} == present
        assert all(0 <= session.confidence[t, k] <= 1 for k in present)


def test_the_next_frame_to_annotate_is_the_most_doubtful():
    session = make({})
    assert session.next_to_annotate() == 0
    session.annotate(0, box(1, 2))
    assert session.next_to_annotate() == 8
    run(session)
    scores = {}
    for t in range(1, 9):
        found = [session.confidence[t, k] for k in (1, 2)]
        scores[t] = np.mean([0.5 if math.isnan(c) else c for c in found])
    t = session.next_to_annotate()
    assert scores[t] == min(scores.values())
    for t in range(9):
        session.annotate(t, box(1))
    assert session.next_to_annotate() is None


def test_the_example_of_the_documentation(tmp_path, monkeypatch, capsys):
    """Runs the example with the stub segmenter on the first eight frames of the bundled clip at a reduced size."""
    code, *_ = re.findall(r"```python\n(.*?)```", (ROOT / "docs/session.md").read_text(encoding="utf-8"), re.DOTALL)
    for t in range(8):
        for name in (f"JPEGImages/240p/koi/{t:05d}.jpg", f"Annotations/240p/koi/{t:05d}.png"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            with Image.open(bundled.DEMO_CLIP / name) as image:
                image.resize((42, 24), Image.Resampling.NEAREST).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bundled, "DEMO_CLIP", tmp_path)
    monkeypatch.setattr(hmmn_jax, "load_checkpoint", lambda name: (bundled.WEIGHTS[name].stat(), None), raising=False)
    monkeypatch.setattr(hmmn_jax, "Segmenter", lambda found, config: Stub(), raising=False)
    exec(code, {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 8 and lines[7].count("'annotated'") == 2 and "'stale'" in lines[7]
    assert (tmp_path / "koi-session/session.json").is_file()
