"""Runs scripts in separate processes. Each process starts fast, because it is a fork of a process that has imported JAX."""

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["hmmn_jax.cli.evaluate", "hmmn_jax.training.loop", "tests.evaluation.harness"])


def run_script(script, *arguments, cwd=ROOT, **environment):
    """Runs `python SCRIPT ARGUMENTS`. Returns a `subprocess.CompletedProcess` with the output as text."""
    command = [sys.executable, str(ROOT / script), *map(str, arguments)]
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("stdout", "stderr")]
        process = FORKS.Process(target=_become, args=(command[1:], cwd, environment, files))
        process.start()
        process.join()
        return subprocess.CompletedProcess(
            command, process.exitcode, *(file.read_text(errors="surrogateescape") for file in files)
        )


def _become(command, cwd, environment, files):
    for number, file in enumerate(files, start=1):
        os.dup2(os.open(file, os.O_CREAT | os.O_WRONLY), number)
    os.chdir(cwd)
    os.environ.update(environment)
    sys.argv = command
    runpy.run_path(command[0], run_name="__main__")
