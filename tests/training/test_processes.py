"""Tests what two processes of `train.py` do when one of them fails. `process_matrix.py` defines the cases."""

import signal

import pytest

from hmmn_jax.training.metrics import read_metrics
from tests.training.process_matrix import CELLS, SETTINGS, Run, free_port, prepare, run_cell

NORMAL = ("disk-0", "data-1", "kill-1")  # cells of the matrix that are not marked as slow; a test below also runs term-0


@pytest.mark.parametrize("name", [name if name in NORMAL else pytest.param(name, marks=pytest.mark.slow) for name in CELLS])
def test_a_cell(tmp_path, name):
    prepared = prepare(tmp_path / "prepared") if name.startswith("local") else None
    cell = run_cell(name, tmp_path / "cell", prepared)
    assert cell.wrong == [], cell


def test_a_terminated_run_continues_in_another_number_of_processes_with_the_same_samples(tmp_path):
    """A run of two processes with pmap is terminated, and resumed in one process.

    The loss of the stub is the mean of the sample numbers in a batch, so the losses show which samples a step used.
    """
    cell = run_cell("term-0", tmp_path / "cell")
    assert cell.wrong == [], cell
    workdir = tmp_path / "cell/workdir"
    done = read_metrics(workdir)[-1]["step"]
    alone = Run(tmp_path / "alone")
    alone.start(0, workdir, None)
    alone.wait_for_steps(workdir, done // 2 + 2)
    alone.processes[0].send_signal(signal.SIGTERM)
    alone.wait()
    assert alone.code(0) == 143
    lines = read_metrics(workdir)
    assert lines[-1]["step"] > done
    assert [line["step"] for line in lines] == list(range(1, len(lines) + 1))
    assert [line["loss"] for line in lines] == [4 * i + 1.5 for i in range(len(lines))]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pmap", "jit"])
def test_the_kinds_of_parallel_steps_in_two_processes(tmp_path, kind):
    run, workdir, port = Run(tmp_path / "run"), tmp_path / "workdir", free_port()
    settings = [*SETTINGS, "samples=24", f"parallel={kind}"]
    for i in (0, 1):
        run.start(i, workdir, port, settings=settings)
    run.wait()
    assert [run.code(i) for i in (0, 1)] == [0, 0], [run.last_line(i) for i in (0, 1)]
    assert [line["loss"] for line in read_metrics(workdir)] == [4 * i + 1.5 for i in range(6)]
