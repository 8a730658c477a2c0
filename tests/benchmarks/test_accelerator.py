"""Tests `benchmarks/accelerator.py`.

Stub steps are used to test the time limits. The real steps run with tiny models (`--quick`).
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MADE_UP = """
import os, time

def two(sizes):
    yield {"case": "a", "ms": 1.0}
    yield {"case": "b", "ms": 2.25, "same": True}

def hangs(sizes):
    yield {"case": "before", "ms": 3.0}
    time.sleep(100)

def fails(sizes):
    yield {"case": "before", "ms": 4.0}
    raise MemoryError("17 GB\\nmore lines")

def slow(sizes):
    for i in range(100):
        time.sleep(0.5)
        yield {"case": str(i), "ms": 5.0}

def crashes(sizes):
    os._exit(139)
    yield

QUICK, RELEASED = "quick", "released"
FUNCTIONS = {"device": two, "selection": hangs, "values": fails, "fine read": crashes, "quality": slow, "training": two}
"""


def run(script, *arguments):
    return subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, cwd=script.parent)


def test_a_step_that_hangs_fails_crashes_or_is_slow_leaves_the_others_their_time(tmp_path):
    script = Path(shutil.copy(ROOT / "benchmarks/accelerator.py", tmp_path))
    (tmp_path / "accelerator_steps.py").write_text(MADE_UP)
    output = tmp_path / "card.jsonl"
    steps = "--steps=device,selection,values,fine read,quality,training"
    done = run(script, steps, "--minutes=0.3", f"--output={output}")  # all time limits are 3 % of the defaults
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in output.read_text().splitlines()]

    def of(step, key):
        return [record[key] for record in records if record["step"] == step and key in record]

    assert of("device", "ms") == of("training", "ms") == [1.0, 2.25]
    assert of("selection", "ms") == [3.0] and "ended after 1 s" in of("selection", "error")[0]
    assert of("values", "ms") == [4.0] and of("values", "error") == ["MemoryError: 17 GB"]
    assert of("fine read", "started") and not of("fine read", "took_s")
    assert 1 <= len(of("quality", "ms")) < 6 and "later cases were not measured" in of("quality", "error")[0]
    assert "| device | b | ms | 2.25 |" in done.stdout and "| device | b | same | True |" in done.stdout
    # `--table` compares two machines. An existing results file is never overwritten.
    other = tmp_path / "other.jsonl"
    other.write_text('{"step": "device", "case": "b", "ms": 7.5}\n')
    compared = run(script, "--table", str(output), str(other)).stdout
    assert "| step | case | figure | card | other |" in compared and "| device | b | ms | 2.25 | 7.5 |" in compared
    again = run(script, steps, f"--output={output}")
    assert again.returncode == 2 and "card.jsonl already exists" in again.stderr


def test_a_step_with_an_unknown_name_is_rejected(tmp_path):
    done = run(ROOT / "benchmarks/accelerator.py", "--steps=device,speed", f"--output={tmp_path / 'x.jsonl'}")
    assert done.returncode == 2 and "--steps contains 'speed', expected one or more of device, selection" in done.stderr


@pytest.mark.parametrize(
    "steps", ["device,selection", pytest.param("frame,quality,training,single programs", marks=pytest.mark.slow)]
)
def test_its_own_steps_run_on_a_cpu_with_tiny_models(tmp_path, steps):
    output = tmp_path / "cpu.jsonl"
    done = run(ROOT / "benchmarks/accelerator.py", "--quick", f"--steps={steps}", "--minutes=100", f"--output={output}")
    records = [json.loads(line) for line in output.read_text().splitlines()]
    assert [record["error"] for record in records if "error" in record] == [], done.stderr
    assert {record["step"] for record in records if "took_s" in record} == set(steps.split(","))
    assert all(record["same_as_stable_sort"] for record in records if "same_as_stable_sort" in record)
    assert all(record["same_bits"] for record in records if "same_bits" in record)
