"""Tests which arguments the commands pass to functions such as `evaluate`."""

from pathlib import Path

import jax
import pytest
from absl import logging

from hmmn_jax.cli import convert, launch
from hmmn_jax.cli import evaluate as evaluation
from hmmn_jax.cli.main import main
from hmmn_jax.evaluation.benchmarks import benchmark_settings
from hmmn_jax.inference import host_memory
from hmmn_jax.io.bundled import DEMO_CLIP


@pytest.fixture
def requests(monkeypatch):
    """Replaces `evaluate` and `launch` with stubs. Returns the list to which the stubs add their arguments."""
    found = []
    monkeypatch.setattr(evaluation, "evaluate", found.append)
    monkeypatch.setattr(logging, "set_verbosity", lambda level: None)
    monkeypatch.setattr(host_memory, "keep_host_memory_small", lambda: None)
    monkeypatch.setattr(launch, "launch", lambda **options: found.append(options))
    return found


SEGMENT = ("segment", "clip.mp4", "--mask", "first.png", "--output", "OUT")


def ask(requests, *arguments):
    assert main(arguments) == 0
    (launched, request) = requests
    requests.clear()
    return request, launched


def test_segment(requests, capsys):
    request, launched = ask(requests, *SEGMENT)
    assert (request.frames, request.mask, request.output) == (Path("clip.mp4"), Path("first.png"), Path("OUT"))
    assert request.config.to_dict() == benchmark_settings("custom").to_dict()
    assert request.fit == {"size", "max_memory_frames"} and request.data is None
    assert str(request.checkpoint) == "lite" and request.step is None and not request.overwrite
    assert launched == {"compilation_cache": None}
    said = "The bundled model lite is used. To choose another model, pass --checkpoint PATH.\n"
    assert capsys.readouterr().out == said


def test_what_is_given_is_not_chosen(requests, capsys):
    request, _ = ask(requests, *SEGMENT, "--size", "0", "--mem-every", "2", "--checkpoint", "w.pth", "--step", "best")
    assert (request.config.size, request.config.mem_every) == (0, 2) and request.fit == {"max_memory_frames"}
    assert (request.checkpoint, request.step) == (Path("w.pth"), "best") and capsys.readouterr().out == ""
    request, _ = ask(requests, *SEGMENT, "--max-memory-frames=9", "--set", "size=720", "--config.flip=True", "--overwrite")
    assert (request.config.size, request.config.max_memory_frames, request.config.flip) == (720, 9, True)
    assert request.fit == frozenset() and request.overwrite


def test_several_masks_and_other_formats(requests):
    request, _ = ask(requests, *SEGMENT, "--direction", "backward", "--export", "rgba, coco,rgba")
    assert request.config.direction == "backward" and request.exports == ("rgba", "coco")
    arguments = ("--benchmark", "custom", "--data", "ROOT", "--output", "RUN", "--set", "direction=both", "--export", "gif")
    request, _ = ask(requests, "evaluate", *arguments)
    assert request.config.direction == "both" and request.exports == ("gif",)


def test_a_movie_of_a_video_file_and_not_of_images(requests, tmp_path):
    film, pages, folder = tmp_path / "clip.MOV", tmp_path / "clip.tiff", tmp_path / "frames"
    film.touch(), pages.touch(), folder.mkdir()

    def movie(video, *arguments):
        return ask(requests, "segment", str(video), "--mask", "m.png", "--output", "OUT", *arguments)[0].movie

    assert [movie(video) for video in (film, pages, folder)] == ["mp4", None, None]
    assert movie(film, "--movie", "none") is None and movie(folder, "--movie", "gif") == "gif"


def test_evaluate(requests, monkeypatch):
    def in_processes(program, run, resume, folder, given, terminated):
        assert (program, folder, given["process"]) == ("hmmn-jax evaluate", Path("RUN").absolute(), 1)
        assert terminated == f"the command received SIGTERM. {resume}"
        return run() or 0

    monkeypatch.setattr(launch, "run_in_processes", in_processes)
    arguments = ("--benchmark", "davis2017_val", "--data", "DAVIS", "--output", "RUN", "--set", "mem_every=3", "--overlays")
    request, launched = ask(requests, "evaluate", *arguments, "--coordinator", "a:1", "--processes=2", "--process", "1")
    expected = benchmark_settings("davis2017_val")
    expected.mem_every = 3
    assert request.config.to_dict() == expected.to_dict() and request.fit == frozenset()
    assert (request.data, request.output, request.movie, request.overlays) == (Path("DAVIS"), Path("RUN"), None, True)
    hosts = {"distributed": False, "coordinator": "a:1", "processes": 2, "process": 1}
    timeouts = {"heartbeat_timeout": 100, "initialization_timeout": 300}
    assert launched == hosts | timeouts | {"compilation_cache": None}


def test_score(requests):
    request, _ = ask(requests, "score", "PRED", "--benchmark", "davis2016_val", "--data", "DAVIS")
    assert (request.score, request.data, request.output, request.checkpoint) == (Path("PRED"), Path("DAVIS"), None, None)
    assert request.config.single_object


def test_demo(requests, capsys):
    request, _ = ask(requests, "demo")
    assert (request.data, request.output, request.movie) == (DEMO_CLIP, Path("runs/demo"), "gif")
    assert request.overlays and request.overwrite and str(request.checkpoint) == "lite"
    *_, command = capsys.readouterr().out.splitlines()
    frames, mask = command.split()[2], command.split()[4]
    assert command.startswith("  hmmn-jax segment ") and Path(frames).is_dir() and Path(mask).is_file()


def test_convert(monkeypatch):
    found = []
    monkeypatch.setattr(jax.config, "update", lambda *_: None)
    for name in ("convert_from_torch", "convert_to_torch", "convert_imagenet", "inspect_checkpoint"):
        monkeypatch.setattr(convert, name, lambda options, name=name: found.append((name, options)))
    commands = ("from-torch a b", "to-torch a b --half", "imagenet a b --seed 3 --config c", "inspect a")
    for command in commands:
        assert main(["convert", *command.split()]) == 0
    assert [name for name, _ in found] == ["convert_from_torch", "convert_to_torch", "convert_imagenet", "inspect_checkpoint"]
    assert (found[0][1].file, found[0][1].out) == (Path("a"), Path("b"))
    assert found[1][1].half and (found[2][1].seed, found[2][1].config) == (3, Path("c"))


EVALUATE = ("evaluate", "--benchmark=davis2016_val", "--data=DAVIS", "--output=RUN")


@pytest.mark.parametrize(("command", "quick"), [(SEGMENT, True), (EVALUATE, False)])
def test_an_evaluation_does_not_trade_speed_for_compilation_time(requests, monkeypatch, command, quick):
    found = []
    monkeypatch.setattr(launch, "set_compiler_flags", found.append)
    ask(requests, *command)
    assert found == [quick]
