"""Runs `train.py` in two processes with stub steps, and checks how both processes end after a fault.

    python -m tests.training.process_matrix [--only CELL ...] [--folder FOLDER]

A cell is one test, named CASE-PROCESS. For example, in the cell step-1, the training step of process 1 fails. The program
prints a table with the exit code and the last line of each process, and the seconds until the process ended. The seconds depend
on the load of the machine. The exit code of the program is 1 if the result of a cell is not as expected.
"""

import argparse
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from hmmn_jax.checkpoints.steps import finished_steps

ROOT = Path(__file__).parents[2]
HEARTBEAT, INITIALIZATION = 10, 45  # timeouts in seconds; the defaults of JAX are 100 and 300
BOUND = 15.0  # seconds after the fault within which all processes must end
CASES = ("step", "data", "disk", "kill", "term", "local", "double", "missing")
CELLS = [f"{case}-{process}" for case in CASES for process in (0, 1)]
SETTINGS = ("batch=4", "samples=4000000", "parallel=pmap", "learning_rate.warmup=0", "checkpoint.every=8", "log_every=4")
SETTINGS += ("stop_above=1e9",)
# Pattern of the message of a process after the other process is killed.
LOST = "(the connection to .* was lost|no heartbeat was received from process)"


@dataclass
class Run:
    """The processes of one run.

    Attributes:
        folder: the folder for the output of the processes.
        processes: the processes, by number.
        ended: the time at which each process ended.
    """

    folder: Path
    processes: dict[int, subprocess.Popen] = field(default_factory=dict)
    ended: dict[int, float] = field(default_factory=dict)

    def start(self, process: int, workdir: Path, port: int | None, fault: str = "none", settings=SETTINGS) -> None:
        """Starts a process of the run. If `port` is None, the run has only this process."""
        hosts = [f"--coordinator=localhost:{port}", "--processes=2", f"--process={process}"] if port else []
        times = [f"--initialization_timeout={INITIALIZATION}", f"--heartbeat_timeout={HEARTBEAT}"]
        config = [f"--config.{setting}" for setting in settings]
        command = [sys.executable, "-m", "tests.training.stub_train", fault, "--config=configs/train/smoke.py", *config]
        environment = os.environ | {"JAX_PLATFORMS": "cpu", "FAULT_FILE": str(self.folder / "fault")}
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.errors(process), "w") as errors, open(self.folder / f"out{process}", "w") as out:
            command += [*hosts, *times, f"--workdir={workdir}"]
            self.processes[process] = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=errors)

    def errors(self, process: int) -> Path:
        """Returns the path of the file with the stderr of a process."""
        return self.folder / f"err{process}"

    def wait(self, seconds: float = 200) -> None:
        """Waits until all processes have ended. Kills them after a timeout of `seconds`."""
        deadline = time.monotonic() + seconds
        while len(self.ended) < len(self.processes):
            for i, process in self.processes.items():
                if i not in self.ended and process.poll() is not None:
                    self.ended[i] = time.time()
            if time.monotonic() > deadline:
                for process in self.processes.values():
                    process.kill()
            time.sleep(0.02)

    def wait_for_steps(self, workdir: Path, count: int = 3) -> None:
        """Waits until the run has written `count` checkpoints, one every two steps, or until a process has ended."""
        while all(process.poll() is None for process in self.processes.values()):
            if max(finished_steps(workdir), default=0) >= 2 * count:
                return
            time.sleep(0.05)

    def code(self, process: int) -> int:
        """Returns the exit code of a process."""
        return self.processes[process].returncode

    def last_line(self, process: int) -> str:
        """Returns the last line that a process wrote to stderr, without gRPC's reports of closed connections."""
        lines = self.errors(process).read_text(errors="replace").splitlines()
        lines = [line for line in lines if "grpc_status" not in line]
        return lines[-1] if lines else ""


@dataclass
class Cell:
    """The result of a cell. Dictionaries have process numbers as keys.

    Attributes:
        name: name in `CELLS`.
        seconds: time from the fault, or from the start of the run, until each process ended, in seconds.
        codes: exit codes.
        lines: last lines on stderr.
        wrong: a message for each difference from the expected result.
    """

    name: str
    seconds: dict[int, float]
    codes: dict[int, int]
    lines: dict[int, str]
    wrong: list[str]


def free_port() -> int:
    """Returns the number of an unused port."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


def run_cell(name: str, folder: Path, prepared: Path | None = None) -> Cell:
    """Runs a cell.

    Args:
        name: name in `CELLS`.
        folder: folder for the workdir and the output of the processes.
        prepared: workdir with checkpoints, required only for the case `local`.
    """
    case, _, number = name.partition("-")
    target, other = int(number), 1 - int(number)
    workdir, run, port = folder / "workdir", Run(folder / "run"), free_port()
    try:
        return _CASES[case](name, target, other, workdir, run, port, prepared)
    finally:
        for process in run.processes.values():
            process.kill()


def _fault(name, target, other, workdir, run, port, prepared):
    case = name.partition("-")[0]
    for i in (0, 1):
        run.start(i, workdir, port, case if i == target else "none")
    run.wait()
    fault = run.folder / "fault"
    text = {"step": "the step failed", "data": "this clip cannot be read", "disk": "1 is free"}[case]
    expected = {target: (2 if case == "disk" else 1, text), other: (4, f"process {target} ended: ")}
    return _judge(name, run, float(fault.read_text()) if fault.exists() else 0.0, workdir, expected, BOUND, text)


def _kill(name, target, other, workdir, run, port, prepared):
    for i in (0, 1):
        run.start(i, workdir, port)
    run.wait_for_steps(workdir)
    event = time.time()
    run.processes[target].kill()
    run.wait()
    return _judge(name, run, event, workdir, {target: (-9, None), other: (4, LOST)}, HEARTBEAT + BOUND)


def _terminate(name, target, other, workdir, run, port, prepared):
    for i in (0, 1):
        run.start(i, workdir, port)
    run.wait_for_steps(workdir)
    event = time.time()
    run.processes[target].terminate()
    run.wait()
    cell = _judge(name, run, event, workdir, {0: (143, None), 1: (143, None)}, BOUND)
    if "its state was saved" not in (said := (run.folder / "out0").read_text()):
        cell.wrong.append(f"process 0 said {said[-200:]!r}")
    return cell


def _local(name, target, other, workdir, run, port, prepared):
    """Gives each process a different workdir, as on local disks. Only the workdir of `target` has checkpoints."""
    folders = {target: workdir, other: workdir.with_name("other")}
    shutil.copytree(prepared, workdir)
    before = _files(workdir / "checkpoints")
    event = time.time()
    for i in (0, 1):
        run.start(i, folders[i], port)
    run.wait()
    text = "process 0 on .* and process 1 on .* use different folders with this name"
    cell = _judge(name, run, event, workdir, {0: (2, text), 1: (2, text)}, float("inf"))
    if _files(workdir / "checkpoints") != before:
        cell.wrong.append("checkpoints were changed")
    return cell


def _double(name, target, other, workdir, run, port, prepared):
    """Starts a second run in the workdir of a run that is still active. In the second run, process `target` starts first."""
    first = Run(run.folder / "first")
    try:
        for i in (0, 1):
            first.start(i, workdir, port)
        first.wait_for_steps(workdir)
        event, before = time.time(), (workdir / "record/.lock.json").read_bytes()
        for i in (target, other):
            run.start(i, workdir, port)
        run.wait()
        cell = _judge(name, run, event, workdir, {i: (2, "is in use by process") for i in (0, 1)}, BOUND, files=False)
        if (workdir / "record/.lock.json").read_bytes() != before or list(workdir.glob("error-*")):
            cell.wrong.append("the second run changed the workdir")
        steps = max(finished_steps(workdir))
        first.wait_for_steps(workdir, steps // 2 + 2)
        if any(process.poll() is not None for process in first.processes.values()):
            cell.wrong.append(f"the first run ended: {[first.last_line(i) for i in (0, 1)]}")
        return cell
    finally:
        for process in first.processes.values():
            process.terminate()
        first.wait()


def _missing(name, target, other, workdir, run, port, prepared):
    """Starts only one process. The process `target` is never started."""
    event = time.time()
    run.start(other, workdir, port)
    run.wait()
    return _judge(name, run, event, workdir, {other: (5, "not all processes connected")}, INITIALIZATION + 60)


_CASES = {"step": _fault, "data": _fault, "disk": _fault, "kill": _kill, "term": _terminate}
_CASES |= {"local": _local, "double": _double, "missing": _missing}


def _judge(name, run, event, workdir, expected, bound, text="", files=True):
    """Compares the results of the processes with `expected`. Returns the cell.

    `expected` maps process numbers to exit codes and patterns of the last line. The line is not checked if its pattern is None.
    """

    seconds = {i: ended - event for i, ended in run.ended.items()}
    codes = {i: run.code(i) for i in run.processes}
    lines = {i: run.last_line(i) for i in run.processes}
    cell = Cell(name, seconds, codes, lines, [])
    for i, (code, pattern) in expected.items():
        if codes[i] != code:
            cell.wrong.append(f"process {i}: exit code {codes[i]}, expected {code}")
        if seconds[i] > bound:
            cell.wrong.append(f"process {i}: {seconds[i]:.1f} s, expected at most {bound:.0f}")
        if pattern is None:
            continue
        if not re.match(rf"train\.py: .*{pattern}", lines[i]) or text not in lines[i]:
            cell.wrong.append(f"process {i}: the last line is {lines[i]!r}")
        file = workdir / f"error-{i}.txt"
        if files and code != 2 and (not file.is_file() or file.read_text().splitlines()[-1] != lines[i]):
            cell.wrong.append(f"process {i}: {file.name} has another reason, or is missing")
    if (workdir / "damaged").exists():
        cell.wrong.append("a checkpoint was moved away")
    return cell


def _files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def prepare(folder: Path) -> Path:
    """Trains in a single process, and terminates the process after three checkpoints. Returns the workdir."""
    run, workdir = Run(folder / "run"), folder / "workdir"
    run.start(0, workdir, None)
    run.wait_for_steps(workdir)
    run.processes[0].terminate()
    run.wait()
    return workdir


def main() -> None:
    """Parses the command line, runs the cells and prints the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", nargs="*", default=CELLS, choices=CELLS)
    parser.add_argument("--folder", type=Path, help="folder for the runs; must not exist")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp())
    prepared = prepare(folder / "prepared") if any(name.startswith("local") for name in arguments.only) else None
    print(f"heartbeat timeout {HEARTBEAT} s, initialization timeout {INITIALIZATION} s", flush=True)
    print("| cell | as expected | seconds, by process | exit codes | last line of each |\n|---|---|---|---|---|", flush=True)
    failed = False
    for name in arguments.only:
        cell = run_cell(name, folder / name, prepared)
        failed = failed or bool(cell.wrong)
        seconds = ", ".join(f"{i}: {value:.1f}" for i, value in sorted(cell.seconds.items()))
        codes = ", ".join(f"{i}: {code}" for i, code in sorted(cell.codes.items()))
        lines = "; ".join(f"{i}: {line[:160]}" for i, line in sorted(cell.lines.items()))
        print(f"| {name} | {'; '.join(cell.wrong) or 'yes'} | {seconds} | {codes} | {lines} |", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    main()
