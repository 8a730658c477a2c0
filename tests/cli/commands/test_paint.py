"""Tests which project, video and model `hmmn-jax paint` opens, and the error if the extra `paint` is not installed."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from absl import logging

from hmmn_jax.checkpoints import store
from hmmn_jax.cli import launch
from hmmn_jax.cli.main import main
from hmmn_jax.inference import host_memory
from hmmn_jax.io.bundled import DEMO_CLIP
from hmmn_jax.io.video import ArrayVideo
from hmmn_jax.paint import fitting, server
from tests.session.stub import Stub


@pytest.fixture
def opened(monkeypatch):
    """Replaces the server with a stub. Returns the list to which the stub adds its arguments."""
    found = []
    monkeypatch.setattr(server, "paint", lambda *args: found.append(args))
    monkeypatch.setattr(logging, "set_verbosity", lambda level: None)
    monkeypatch.setattr(host_memory, "keep_host_memory_small", lambda: None)
    monkeypatch.setattr(launch, "launch", lambda **options: None)
    return found


def test_what_is_opened(opened, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "frames.v2").mkdir()
    koi = DEMO_CLIP / "JPEGImages/240p/koi"
    for arguments, expected in (
        ((), (Path("koi.hmmn"), koi, "lite", "127.0.0.1", 0, True, False, None)),
        (("a/clip.mp4",), (Path("clip.hmmn"), Path("a/clip.mp4"), "lite", "127.0.0.1", 0, True, False, None)),
        (("frames.v2",), (Path("frames.v2.hmmn"), Path("frames.v2"), "lite", "127.0.0.1", 0, True, False, None)),
        (("--project", "P", "--no-browser"), (Path("P"), None, "lite", "127.0.0.1", 0, False, False, None)),
        (
            ("x.mov", "--project=P", "--host=::", "--port=80", "--checkpoint=w.pth", "--size=0"),
            (Path("P"), Path("x.mov"), "w.pth", "::", 80, True, False, 0),
        ),
    ):
        assert main(["paint", *arguments]) == 0
        folder, video, _, *others = opened.pop()
        assert (folder, video, *others) == expected
    assert list(tmp_path.iterdir()) == [tmp_path / "frames.v2"]


def test_which_model(opened, monkeypatch):
    monkeypatch.setattr(store, "load_checkpoint", lambda path, step=None: (str(path), step))
    video, fitted = ArrayVideo(np.zeros((1, 2, 2, 3), np.uint8)), []
    monkeypatch.setattr(fitting, "fitted_segmenter", lambda *args: fitted.append(args) or Stub())
    for arguments, expected in (((), ("lite", None)), (("--checkpoint=RUN", "--step=best", "--size=720"), ("RUN", "best"))):
        assert main(["paint", *arguments]) == 0
        opened.pop()[2](video)
        assert fitted.pop() == (*expected, video, 720 if arguments else None)


def test_without_the_extra(opened, monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "uvicorn" else find(name, *rest))
    assert main(["paint"]) == 2 and not opened
    assert (
        capsys.readouterr().err
        == "hmmn-jax paint: paint needs uvicorn, which is not installed. Run: pip install 'hmmn-jax[paint]'\n"
    )
