"""Tests how two processes of `evaluate.py` behave when one of them fails. The segmenter is a stub."""

import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass

import pytest

from tests.evaluation.harness import contents, discs, run_evaluate, save_video
from tests.training.process_matrix import BOUND, HEARTBEAT, INITIALIZATION, LOST, ROOT, Run, free_port

NAMES = "abcdefgh"  # names of the videos; process 0 segments a, c, e and g
RESUME = "Run the same command to resume with the missing videos"


@dataclass
class EvaluationRun(Run):
    """The two processes of an evaluation."""

    def begin(self, process, data, output, port, fault="none", seconds=0.1):
        """Starts one of two processes. Each frame takes `seconds` seconds."""
        command = [sys.executable, "-m", "tests.evaluation.stub_evaluate", fault, "--config=configs/evaluate/custom.py"]
        command += [f"--data={data}", f"--output={output}", "--checkpoint=weights", f"--coordinator=localhost:{port}"]
        command += ["--processes=2", f"--process={process}"]
        command += [f"--initialization_timeout={INITIALIZATION}", f"--heartbeat_timeout={HEARTBEAT}"]
        environment = os.environ | {"JAX_PLATFORMS": "cpu", "FAULT_FILE": str(self.folder / "fault"), "SECONDS": str(seconds)}
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.errors(process), "w") as errors, open(self.folder / f"out{process}", "w") as out:
            self.processes[process] = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=errors)

    def begin_both(self, data, output, target=0, fault="none", seconds=0.1):
        """Starts both processes. The error is raised in process `target`."""
        port = free_port()
        for i in (0, 1):
            self.begin(i, data, output, port, fault if i == target else "none", seconds)

    def wait_for_videos(self, output, count=2):
        """Waits until `count` videos are complete or a process has ended."""
        while len(list(output.glob("record/clips/*.json"))) < count:
            if any(process.poll() is not None for process in self.processes.values()):
                return
            time.sleep(0.02)

    def seconds(self, event):
        """Returns the number of seconds from `event` until the last process ended."""
        return max(self.ended.values()) - event

    def said(self):
        """Returns the exit code and the last line on stderr of each process."""
        return {i: (self.code(i), self.last_line(i)) for i in self.processes}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Writes eight videos, and the results of a complete run with one process."""
    root = tmp_path_factory.mktemp("processes")
    frames, masks = discs(6)
    for name in NAMES:
        save_video(root / "in", name, frames, masks)
    done = run_evaluate(data=root / "in", output=root / "whole")
    assert done.code == 0, done.err
    return root


@pytest.fixture
def run(tmp_path):
    run = EvaluationRun(tmp_path / "processes")
    yield run
    for process in run.processes.values():
        process.kill()
        process.wait()


def masks_in(folder):
    return {name: content for name, content in contents(folder).items() if name.startswith("masks/")}


def scores_in(folder):
    return {name: (folder / name).read_text() for name in ("per_sequence.csv", "per_frame.csv")}


def assert_whole_after_resuming(data, output):
    """Asserts that each video is complete or missing, and that a run with one process adds the missing videos."""
    before = masks_in(output)
    assert before.items() <= masks_in(data / "whole").items()
    assert {len([name for name in before if name.startswith(f"masks/{video}/")]) for video in NAMES} <= {0, 6}
    done = run_evaluate(data=data / "in", output=output)
    assert done.code == 0, done.err
    assert masks_in(output) == masks_in(data / "whole") and scores_in(output) == scores_in(data / "whole")
    assert not list((output / "record").rglob("unfinished/*"))


def test_two_processes_share_the_videos_and_one_fails(data, tmp_path, run):
    """Video d, the second video of process 1, fails. Both processes report the error. All other videos are scored."""
    run.begin_both(data / "in", tmp_path / "run", 1, "clip")
    run.wait()
    text = "1 video(s) failed, and the other 7 are complete. Fix the problems and run the command again."
    for code, line in run.said().values():
        assert code == 1 and line.startswith(f"evaluate.py: {text}") and "this video cannot be read" in line, run.said()
    assert {name.split("/")[1] for name in masks_in(tmp_path / "run")} == set(NAMES) - {"d"}
    assert "mean over objects" in (run.folder / "out0").read_text()
    assert "mean over objects" not in (run.folder / "out1").read_text()
    assert "d," not in (tmp_path / "run/per_sequence.csv").read_text()
    assert_whole_after_resuming(data, tmp_path / "run")


@pytest.mark.parametrize("target", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_an_error_in_one_process_ends_both(data, tmp_path, run, target):
    run.begin_both(data / "in", tmp_path / "run", target, "step")
    run.wait()
    assert run.seconds(float((run.folder / "fault").read_text())) < BOUND
    expected = {
        target: (1, "RuntimeError: the step failed"),
        1 - target: (4, f"process {target} ended: RuntimeError: the step"),
    }
    for i, (code, text) in expected.items():
        assert run.code(i) == code and run.last_line(i).startswith(f"evaluate.py: {text}"), run.said()
        assert (tmp_path / f"run/error-{i}.txt").read_text().splitlines()[-1] == run.last_line(i)
    assert_whole_after_resuming(data, tmp_path / "run")


@pytest.mark.parametrize("target", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_sigterm_in_one_process_ends_both(data, tmp_path, run, target):
    run.begin_both(data / "in", tmp_path / "run")
    run.wait_for_videos(tmp_path / "run")
    event = time.time()
    run.processes[target].terminate()
    run.wait()
    assert run.seconds(event) < BOUND
    for code, line in run.said().values():
        assert (
            code == 143 and re.match(r"evaluate\.py: .*(received SIGTERM|terminated)[;.] ", line) and line.endswith(RESUME)
        ), run.said()
    assert_whole_after_resuming(data, tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("target", [0, 1])
def test_sigkill_of_one_process_ends_the_other(data, tmp_path, run, target):
    run.begin_both(data / "in", tmp_path / "run")
    run.wait_for_videos(tmp_path / "run")
    event = time.time()
    run.processes[target].kill()
    run.wait()
    assert run.seconds(event) < HEARTBEAT + BOUND
    assert run.code(1 - target) == 4 and re.match(rf"evaluate\.py: {LOST}", run.last_line(1 - target)), run.said()
    assert_whole_after_resuming(data, tmp_path / "run")


@pytest.mark.slow
def test_two_processes_of_which_nothing_ends_early(data, tmp_path, run):
    for _ in range(3):  # in the second and third runs, all videos are already complete
        run.ended.clear()
        run.begin_both(data / "in", tmp_path / "run")
        run.wait()
        assert run.code(0) == run.code(1) == 0, run.said()
        assert masks_in(tmp_path / "run") == masks_in(data / "whole") and scores_in(tmp_path / "run") == scores_in(
            data / "whole"
        )


@pytest.mark.slow
def test_folders_of_one_name_that_are_not_shared(data, tmp_path, run):
    port = free_port()
    for i in (0, 1):
        run.begin(i, data / "in", tmp_path / f"run{i}", port)
    run.wait()
    for code, line in run.said().values():
        assert code == 2 and "process 0 on " in line and "and process 1 on " in line, run.said()
        assert line.endswith("Pass a --output that all processes share, such as a folder on a network drive")
    assert not (tmp_path / "run1").exists() and not masks_in(tmp_path / "run0")


@pytest.mark.slow
def test_a_second_run_on_the_folder_changes_nothing(data, tmp_path, run):
    second, output = EvaluationRun(tmp_path / "second"), tmp_path / "run"
    run.begin_both(data / "in", output, seconds=1.0)
    run.wait_for_videos(output, 1)
    owner = (output / "record/.lock.json").read_bytes()
    second.begin_both(data / "in", output)
    second.wait()
    assert {code for code, _ in second.said().values()} == {2}, second.said()
    assert all("is in use by process" in line for _, line in second.said().values()), second.said()
    assert run.processes[0].poll() is None and (output / "record/.lock.json").read_bytes() == owner
    run.wait()
    assert run.code(0) == run.code(1) == 0, run.said()
    assert masks_in(output) == masks_in(data / "whole") and not list(output.glob("error-*"))


@pytest.mark.slow
@pytest.mark.parametrize("missing", [0, 1])
def test_a_process_that_is_not_started(data, tmp_path, run, missing):
    run.begin(1 - missing, data / "in", tmp_path / "run", free_port())
    run.wait()
    assert run.code(1 - missing) == 5 and "not all processes connected within" in run.last_line(1 - missing), run.said()
    assert not (tmp_path / "run/masks").exists()


@pytest.mark.slow
def test_existing_masks_are_scored_once(data, tmp_path, run):
    """With --score, process 0 computes and writes the scores, and process 1 waits."""
    flags = ["--config=configs/evaluate/custom.py", f"--data={data / 'in'}", f"--score={data / 'whole/masks'}"]
    flags += [f"--output={tmp_path / 'run'}", f"--coordinator=localhost:{free_port()}", "--processes=2"]
    commands = [[sys.executable, "evaluate.py", *flags, f"--process={i}"] for i in (0, 1)]
    how = {"cwd": ROOT, "env": os.environ | {"JAX_PLATFORMS": "cpu"}, "stdout": subprocess.PIPE, "text": True}
    done = [subprocess.Popen(command, **how) for command in commands]
    said = [process.communicate()[0] for process in done]
    assert [process.returncode for process in done] == [0, 0]
    assert "mean over objects" in said[0] and "mean over objects" not in said[1]
    assert scores_in(tmp_path / "run") == scores_in(data / "whole")
