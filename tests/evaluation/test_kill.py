"""Tests `kill -9`, Ctrl-C and SIGTERM during an evaluation. Runs can be resumed, and user files do not change."""

import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.evaluation.harness import contents, discs, run_evaluate, save_video


def start(*arguments):
    command = [sys.executable, "-m", "tests.evaluation.slow_run", *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("killed")
    frames, masks = discs(8, objects=2)
    for name in "abc":
        save_video(root / "in", name, frames, masks)
    done = run_evaluate(data=root / "in", output=root / "whole", overlays=True, movie="gif")
    assert done.code == 0, done.err
    return root


@pytest.mark.parametrize(("number", "code", "said"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")])
def test_an_interruption_is_one_line(data, tmp_path, number, code, said):
    process = start(data / "in", tmp_path / "run")
    while not list((tmp_path / "run").glob("record/unfinished/*/masks")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.005)
    process.send_signal(number)
    _, err = process.communicate()
    assert process.returncode == code
    assert [line for line in err.splitlines() if line and "NOTE" not in line] == [f"evaluate.py: the command was {said}"]
    assert not list((tmp_path / "run" / "record").rglob("unfinished/*"))


def without_report(folder):
    """Returns the contents of all files except the report and the summary, which contain times and commands."""
    return {name: text for name, text in contents(folder).items() if name not in ("report.html", "summary.json")}


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_kills(data, kills):
    """Kills several runs at random times and resumes them. If the test fails, the message contains the seed and the times."""
    seed = random.SystemRandom().randrange(1000) if kills > 2 else 0
    rng = random.Random(seed)
    moments = []
    for _ in range(kills):
        run = data / "run"
        shutil.rmtree(run, ignore_errors=True)
        (run / "masks").parent.mkdir(parents=True)
        (run / "notes.txt").write_text("the user's")
        process = start(data / "in", run)
        while not (run / "record" / "run.json").exists():
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.005)
        moments.append(rng.uniform(0, 1.0))
        time.sleep(moments[-1])
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stderr.close()
        done = run_evaluate(data=data / "in", output=run, overlays=True, movie="gif")
        assert done.code == 0, (seed, moments, done.err)
        assert without_report(run) == without_report(data / "whole") | {"notes.txt": b"the user's"}, (seed, moments)
        assert not list((run / "record").rglob("unfinished/*")), (seed, moments)
