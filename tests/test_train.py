"""Tests train.py in a separate process: error messages, and a short run on rendered clips that is terminated and resumed."""

import os
import signal
import subprocess
import sys
import time

import pytest

from hmmn_jax.checkpoints.store import save_checkpoint
from hmmn_jax.training.metrics import read_metrics
from tests.programs import ROOT, run_script
from tests.small import SMALL, variables

SMOKE = ("--config", "configs/train/smoke.py")
SMALLER = ("use_topk_read=False", "value_dim_s16=8", "decoder_dim=8")
# Flags that make the model of `smoke.py` smaller, so that it compiles fast.
TINY = [
    f"--config.model.{field}" for field in ("backbone.norm=none", "backbone.widths=(8,8,8)", "backbone.stem_width=8", *SMALLER)
]


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Writes a checkpoint of a model that differs from the model of `smoke.py`. Returns its path."""
    path = tmp_path_factory.mktemp("other") / "OUT"
    save_checkpoint(path, variables(), SMALL)
    return path


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "pass --config FILE"),
        ([*SMOKE, "--config.batch_size=3"], "batch_size"),
        ([*SMOKE, "--config.batch=many"], "batch"),
        (["--config", "configs/nothing.py"], "nothing.py"),
        ([*SMOKE, "--config.batch=3", "--config.micro_batches=2"], "expected a multiple of 2"),
        pytest.param(
            [*SMOKE, "--config.data.sets.shapes.name=davis/mine", "--config.data.data_dir=/nowhere"],
            "/nowhere",
            marks=pytest.mark.slow,
        ),
        ([*SMOKE, "--config.validation.data=/nowhere"], "/nowhere"),
        ([*SMOKE, "--workdir=gs:/b/run"], "Pass gs://b/run"),
        pytest.param([*SMOKE, "--config.init=OTHER"], "a checkpoint of a different model", marks=pytest.mark.slow),
    ],
)
def test_a_error_is_one_line_and_exit_code_2(other, tmp_path, arguments, said):
    arguments = [argument.replace("OTHER", str(other)) for argument in arguments]
    done = run_script("train.py", "--workdir", tmp_path / "run", *arguments)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("train.py: ")]
    assert said in line
    assert not (tmp_path / "run").exists() and not (ROOT / "gs:").exists()


@pytest.mark.slow
def test_a_run_that_is_asked_to_stop_and_continues(tmp_path):
    arguments = (
        *SMOKE, "--workdir", tmp_path / "run", "--compilation_cache", tmp_path / "cache",
        "--config.samples=24", "--config.learning_rate.warmup=4", "--config.log_every=1", "--config.data.size=(32,32)",
        "--config.data.frames=2", *TINY,
    )  # fmt: skip
    command = [sys.executable, "train.py", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, **pipes)
    while process.poll() is None and not read_metrics(tmp_path / "run"):
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate()
    assert process.returncode == 143, stderr
    assert "the run was terminated, and its state was saved. Run the same command to resume from the last checkpoint" in stdout
    done = run_script("train.py", *arguments, TF_CPP_MIN_LOG_LEVEL="3")
    assert done.returncode == 0, done.stderr
    assert "of this workdir" in done.stdout and "step 6: done" in done.stdout
    assert [line["step"] for line in read_metrics(tmp_path / "run")] == [1, 2, 3, 4, 5, 6]
