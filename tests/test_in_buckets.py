"""Tests that training and evaluation in an emulated Cloud Storage bucket are bit-identical to local runs.

With `pytest -s`, the test prints a transcript of the commands and their output.
"""

import json
import os
import shlex
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from data.build import build, make_config
from hmmn_jax.checkpoints.steps import finished_steps
from hmmn_jax.io import objects
from hmmn_jax.io.buckets import as_path
from hmmn_jax.io.local_copy import local_copy
from hmmn_jax.training.metrics import read_metrics
from tests.data import folders
from tests.programs import ROOT
from tests.test_train import SMOKE, TINY
from tools.cloud_storage import BUCKET, emulator

STEPS = 8
PIPES = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Yields a folder with a benchmark `DAVIS` and the data set `DATA` built from it. The bucket contains copies of both."""
    with emulator():
        home = tmp_path_factory.mktemp("home")
        root = folders.davis(home / "DAVIS", {"a": [[1]] * 5, "b": [[1]] * 4})
        build("davis", make_config("davis", "2017", None, []), root, home / "DATA")
        files = [path for path in home.rglob("*") if path.is_file() and not path.name.endswith(".lock")]
        objects.upload({as_path(f"gs://{BUCKET}") / path.relative_to(home).as_posix(): path for path in files})
        yield home


def start(command, cwd):
    """Starts a script in the folder `cwd`. The test later checks that the script wrote no unexpected files to this folder."""
    print("\n$", "python", shlex.join(map(str, command)))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.Popen([sys.executable, str(ROOT / command[0]), *map(str, command[1:])], cwd=cwd, env=environment, **PIPES)


def finish(process):
    """Waits for a process, asserts that it succeeds, and returns its stdout."""
    stdout, stderr = process.communicate()
    notes = [line for line in stderr.splitlines() if line.startswith(("NOTE:", "train.py:", "evaluate.py:"))]
    print(stdout, *notes, f"exit code {process.returncode}", sep="\n")
    assert process.returncode == 0, stderr
    return stdout


def training(where, run, *arguments):
    """Returns the command that trains a tiny model. `where` is the local folder or the bucket that contains the data set."""
    config = (
        "--config.data.sets.shapes.name=davis/2017", f"--config.data.data_dir={where}/DATA", f"--config.samples={4 * STEPS}",
        f"--config.validation.data={where}/DAVIS", "--config.validation.year=2017", "--config.validation.split=train",
        "--config.validation.every=400", "--config.data.size=(32,32)", "--config.data.resize=32", "--config.data.frames=2",
        "--config.data.min_area=4", "--config.data.distinct=0", "--config.log_every=4", "--config.checkpoint.every=8",
        "--config.learning_rate.warmup=4", "--config.profile=7:7",
    )  # fmt: skip
    return ("train.py", SMOKE[0], ROOT / SMOKE[1], "--workdir", run, *config, *TINY, *arguments)


def tensors(workdir):
    """Returns all arrays of the last checkpoint, by name."""
    with local_copy(workdir / "checkpoints" / str(STEPS)) as step, ocp.PyTreeCheckpointer() as checkpointer:
        trees = [checkpointer.restore(step / name) for name in ("variables", "training")]
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree.leaves_with_path(trees)}


def evaluation(where, run, out, *arguments):
    config = ("--config.split=train", "--overlays")
    data = ("--config", ROOT / "configs/evaluate/davis2017_val.py", "--data", f"{where}/DAVIS")
    return ("evaluate.py", *data, "--checkpoint", run, "--output", out, *config, *arguments)


def contents(folder):
    """Returns the masks, overlays and score tables of an evaluation, its scores, and the names of all files.

    The content of other files is not returned, because it includes paths or times.
    """
    with local_copy(folder) as copy:
        files = {path.relative_to(copy).as_posix(): path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    scores = json.loads(files["summary.json"])
    del scores["about"]
    kept = ("masks/", "overlays/", "per_")
    names = files.keys() - {"record/lock"}  # this empty file is not created in buckets
    return {name: content for name, content in files.items() if name.startswith(kept)}, scores, sorted(names)


@pytest.mark.slow
def test_training_is_killed_and_resumed_and_evaluated(home, tmp_path):
    remote, runs = f"gs://{BUCKET}", {"local": home / "RUN", "bucket": as_path(f"gs://{BUCKET}/RUN")}
    finish(start(training(home, runs["local"]), tmp_path))

    command = training(remote, runs["bucket"])
    process = start(command, tmp_path)
    while process.poll() is None and not finished_steps(runs["bucket"]):
        time.sleep(0.5)  # each check sends requests to the server
    process.send_signal(signal.SIGKILL)
    process.communicate()
    print(f"killed; finished steps: {finished_steps(runs['bucket'])}")
    assert 0 < max(finished_steps(runs["bucket"])) < STEPS
    assert "of this workdir" in finish(start(command, tmp_path))

    expected, found = (tensors(runs[kind]) for kind in ("local", "bucket"))
    assert expected.keys() == found.keys()
    different = [name for name in expected if expected[name].tobytes() != found[name].tobytes()]
    print(f"{len(different)} of {len(expected)} tensors differ from those of the local run that was not killed")
    assert not different
    timing = {"clips_per_second", "input_wait"}
    lines = [[{k: v for k, v in line.items() if k not in timing} for line in read_metrics(run)] for run in runs.values()]
    assert lines[0] == lines[1] and [line["step"] for line in lines[1]] == [*range(1, STEPS + 1), STEPS]
    names = list(objects.objects(runs["bucket"]))
    print(*[name for name in names if not name.startswith("checkpoints/")], sep="\n")
    for part in ("pictures/validation/", "profile/plugins/", "tensorboard/"):
        assert any(name.startswith(part) for name in names), part

    outs = {"local": home / "OUT", "bucket": as_path(f"{remote}/OUT")}
    finish(start(evaluation(home, runs["local"], outs["local"]), tmp_path))
    staged = ("--stage", tmp_path / "stage", "--compilation_cache", f"{remote}/cache")
    finish(start(evaluation(remote, runs["bucket"], outs["bucket"], *staged), tmp_path))
    assert contents(outs["local"]) == contents(outs["bucket"])
    again = start(evaluation(remote, runs["bucket"], outs["bucket"], *staged), tmp_path)
    finish(again)
    assert contents(outs["local"]) == contents(outs["bucket"])
    assert list((as_path(remote) / "cache").iterdir())
    assert [path.name for path in tmp_path.iterdir()] == ["stage"] and not (ROOT / "gs:").exists()
