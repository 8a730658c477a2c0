"""Tests that every file in benchmarks/ can be imported with the current package, and that each script has a help text."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEED_TENSORFLOW = ("bucket_input", "clip_figures", "long_video", "pil_clips")
PROGRAM = """
import contextlib, io, json, runpy, sys, traceback
import jax  # which looks for libtpu itself
_, root, stub, without, *paths = sys.argv
sys.path[:0], sys.path[len(sys.path):] = [f"{root}/benchmarks", root], [stub]
sys.modules.update(dict.fromkeys(without.split(",")))
found = {}
for path in paths:
    said, code = io.StringIO(), None
    sys.argv = [path, "--help"]
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            runpy.run_path(path, run_name="__main__")
        except SystemExit as end:
            code = end.code
        except BaseException:
            code = traceback.format_exc()
    found[path] = [code, said.getvalue()]
print(json.dumps(found))
"""


@pytest.mark.parametrize("tensorflow", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_each_benchmark_explains_itself(tmp_path, tensorflow):
    """Runs all files in one process. A stub replaces `libtpu`, because installing this TPU compiler takes a long time."""
    (tmp_path / "stub/libtpu").mkdir(parents=True)
    (tmp_path / "stub/libtpu/__init__.py").touch()
    files = [path for path in sorted((ROOT / "benchmarks").glob("*.py")) if (path.stem in NEED_TENSORFLOW) == tensorflow]
    without = "pytest" if tensorflow else "tensorflow,tensorflow_datasets,pytest"
    command = [sys.executable, "-c", PROGRAM, ROOT, tmp_path / "stub", without, *files]
    done = subprocess.run(list(map(str, command)), cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found) == len(files) > 0
    for path in files:
        (code, said), text = found[str(path)], path.read_text(encoding="utf-8")
        if "\ndef main(" not in text:  # a module that other benchmarks import
            assert code is None, (path.stem, code)
        elif "app.run(main)" in text:  # absl exits with code 1 after --help
            assert code == 1 and "flags:" in said, (path.stem, code, said)
        else:
            assert code == 0 and said.startswith("usage: "), (path.stem, code, said)
