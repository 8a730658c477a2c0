"""Tests that no confirmed edit is lost when the server is ended by SIGKILL or Ctrl-C."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hmmn_jax import Session
from tests.paint.harness import COUNT, Page, box, make_frames, serving
from tests.session.stub import Stub

ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def started(*args, **options):
    """Starts a process, and kills it if it is still running at the end, for example because the test failed."""
    with subprocess.Popen(*args, **options) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)])
def test_a_process_that_ends_in_the_middle_of_a_job(tmp_path, number, code):
    frames, folder = make_frames(tmp_path / "pond"), tmp_path / "project"
    command = [sys.executable, "-m", "tests.paint.stub_app", frames, folder, "--seconds-per-frame", "0.5"]
    env = os.environ | {"JAX_PLATFORMS": "cpu"}
    with started(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert "All changes are saved immediately" in process.stdout.readline()
        with contextlib.closing(Page(process.stdout.readline().split()[1])) as page:
            page.add("koi")
            page.put(4, box(1))
            event = page.json("/api/timeline")["event"]
            page.start()
            page.events(event, lambda name, data: name == "job" and data["done"] == 3)
            seen = {t: page.mask(t) for t in (1, 2, 3, 4)}
            process.send_signal(number)
            assert process.wait(20) == code
            errors = process.stderr.read()
    assert ("interrupted" in errors and "Traceback" not in errors) if code > 0 else errors == ""
    assert {path.name for path in folder.iterdir() if path.name[0] != "."} == {"lock", "project.json", "session"}
    with serving(folder, None) as server:  # the folder can be opened at once, although its lock file still exists
        again = Page(server.url)
        assert again.states[1:5] == "fffa" and "m" in again.states
        for t, mask in seen.items():
            assert np.array_equal(again.mask(t), mask)
        again.start()
        again.wait("done")
        assert again.states == "ffffa" + "f" * 4
        found = [again.mask(t) for t in range(COUNT)]
    whole = Session(Stub(), frames)
    whole.annotate(4, box(1))
    for _ in whole.propagate():
        pass
    assert all(np.array_equal(mask, whole.masks[t]) for t, mask in enumerate(found))
