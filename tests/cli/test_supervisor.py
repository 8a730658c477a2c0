"""Tests the last line and the exit code of a process, for each way in which the process can end."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hmmn_jax.cli.supervisor import explain, report
from hmmn_jax.io.guard import RUN_LOCK, hold_folder

ROOT = Path(__file__).parents[2]
ABORT = (
    "F1129 client.h:80] Terminating process because the JAX distributed service detected fatal errors. This most likely "
    "indicates that another task died; absl::Status: {}\n*** Check failure stack trace: ***\n    @     0x7f9f  absl::Flush()\n"
)
PROGRAM = """
import os, signal, sys, time
from pathlib import Path
from hmmn_jax.cli.supervisor import supervise
child = supervise("prog", Path(sys.argv[1]), "1")
child.listen(lambda: os.write(2, b"terminated\\n"))  # print in this thread could hold the lock of stderr when Python exits
child.begun()
print("output"); print("errors", file=sys.stderr)
exec(sys.argv[2])
"""


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        (
            "DEADLINE_EXCEEDED: Deadline\n\nRPC: /xla.coordination.CoordinationService/RegisterTask",
            5,
            "not all processes connected within",
        ),
        (
            "UNAVAILABLE: Failed to send RPC to coordination service. Either the leader",
            4,
            "the connection to process 0 was lost",
        ),
        (
            "UNAVAILABLE: The following tasks are unhealthy (stopped sending heartbeats):\n1\nThe tasks have crashed.\n\nRPC: "
            "/xla.coordination.CoordinationService/PollForError",
            4,
            "no heartbeat was received from process 1 within --heartbeat_timeout",
        ),
        ("INTERNAL: something else", 4, "JAX ended this process: INTERNAL: something else"),
    ],
)
def test_why_jax_aborted(status, code, reason):
    found = explain(ABORT.format(status), signal.SIGABRT)
    assert found[1] == code and reason in found[0]


def test_signals():
    assert explain("", signal.SIGSEGV) == ("this process was ended by SIGSEGV", 139)
    killed = "this process was ended by SIGKILL. The system kills processes when it is out of memory."
    assert explain("", signal.SIGKILL) == (killed, 137)
    assert explain("", signal.SIGABRT) == ("this process was ended by SIGABRT", 134)


def start(folder, body):
    command = [sys.executable, "-c", PROGRAM, str(folder), body]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_child_that_is_aborted(tmp_path):
    process = start(tmp_path, f"sys.stderr.write({ABORT.format('INTERNAL: bad')!r}); os.abort()")
    said = process.communicate()[1]
    assert process.returncode == 4
    assert said.startswith("errors\nF1129") and said.endswith("\nprog: JAX ended this process: INTERNAL: bad\n")
    about, line = (tmp_path / "error-1.txt").read_text().splitlines()
    assert line == said.splitlines()[-1] and about.endswith(", exit code 4")


def test_a_child_that_is_aborted_after_its_report(tmp_path):
    process = start(tmp_path, "child.report('the disk is full', 2); os.abort()")
    said = process.communicate()[1]
    assert process.returncode == 2 and said == "errors\n\nprog: the disk is full\n"


def test_the_reason_is_the_last_line_even_if_an_abort_prints_more(tmp_path):
    process = start(tmp_path, "child.report('the disk is full', 2); sys.stderr.write('Fatal error: Aborted\\n'); os.abort()")
    said = process.communicate()[1]
    assert process.returncode == 2
    assert said == "errors\n\nprog: the disk is full\nFatal error: Aborted\nprog: the disk is full\n"


def test_signals_reach_the_child_and_its_code_the_caller(tmp_path):
    process = start(tmp_path, "signal.signal(15, lambda *_: sys.exit(7)); print('ready', flush=True); time.sleep(60)")
    while process.stdout.readline() != "ready\n":
        pass
    process.terminate()
    said = process.communicate()[1]
    assert process.returncode == 7 and said.startswith("errors\n")
    assert not list(tmp_path.iterdir())


def test_a_killed_parent_takes_the_child_along(tmp_path):
    with start(tmp_path, "print(os.getpid(), flush=True); time.sleep(60)") as process:
        process.stdout.readline()
        child = int(process.stdout.readline())
        process.kill()
    deadline = time.monotonic() + 20
    while is_running(child):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_running(pid):
    """Returns whether a process is running. An ended process stays in the process table until its parent waits for it."""
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_what_a_process_may_write(tmp_path, capsys):
    """Errors in the arguments are not written to a file. Nothing is written to a folder that another run is using."""
    report("prog", tmp_path, "0", "a\nmistake", 2, begun=False)
    assert not list(tmp_path.iterdir()) and capsys.readouterr().err == "prog: a\\nmistake\n"
    lock = tmp_path / RUN_LOCK
    with hold_folder(tmp_path, lock):
        before = sorted(tmp_path.rglob("*"))
        report("prog", tmp_path, "0", "lost", 4, begun=False)
        assert sorted(tmp_path.rglob("*")) == before
        said = capsys.readouterr().err.splitlines()
        assert said[0].startswith("prog: error-0.txt was not written: ") and said[1] == "prog: lost"
        report("prog", tmp_path, "0", "lost", 4, begun=True)
    assert (tmp_path / "error-0.txt").read_text().endswith("exit code 4\nprog: lost\n")
    (tmp_path / "error-1.txt").write_text("mine")
    report("prog", tmp_path, "1", "lost", 4, begun=True)
    assert (tmp_path / "error-1.txt").read_text() == "mine"
    assert capsys.readouterr().err.splitlines()[-1] == "prog: lost"
