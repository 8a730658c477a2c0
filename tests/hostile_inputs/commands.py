"""Runs `evaluate` on generated files, and checks the invariants that must hold after each run."""

import os
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, event, settings
from PIL import Image

from hmmn_jax.checkpoints.store import save_checkpoint
from hmmn_jax.io.record import Record, sha256
from tests.evaluation.harness import Outcome, run_evaluate
from tests.programs import run_script
from tests.small import TINY, variables

# EXAMPLES=1000 python -m pytest tests/hostile_inputs                 # with many more examples
# EXAMPLES=25 PROCESSES=1 python -m pytest tests/hostile_inputs       # with a separate process for each example
EXAMPLES, PROCESSES = int(os.environ.get("EXAMPLES", "12")), bool(os.environ.get("PROCESSES"))

campaign = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=EXAMPLES < 100,  # each CI run uses the same examples
    suppress_health_check=list(HealthCheck),
    database=None,
)


def snapshot(root: Path) -> dict[str, bytes | str]:
    """Returns the content of every file and the target of every link, by path."""
    found = {}
    for folder, _, names in os.walk(root):
        for path in (Path(folder) / name for name in names):
            if path.is_symlink():
                found[str(path)] = os.readlink(path)
            elif path.is_file():
                found[str(path)] = path.read_bytes()
    return found


def recorded(output: Path) -> dict[str, list[str]]:
    """Returns a dict from paths to digests, for all files in the records of an output folder."""
    paths = (output / "record").rglob("*.json") if (output / "record").is_dir() else ()
    records = [Record.load(output, path) for path in paths if path.name != "run.json" and '"files"' in path.read_text()]
    return {str(output / name): digests for record in records for name, digests in record.files.items()}


def check(done: Outcome, before: dict, root: Path, output: Path) -> None:
    """Checks the invariants of a run.

    The exit code is 0, 1 or 2. Errors are reported as messages that start with `evaluate.py: `, without a traceback. Existing
    files do not change unless they are in the record of the run. New files are in the record. No incomplete files are left.
    """
    event(f"exit code {done.code}")
    assert done.code in (0, 1, 2), done
    assert "Traceback" not in done.err, done.err
    if done.code:
        assert "evaluate.py: " in done.err, done
        assert all(
            line.startswith(("evaluate.py: ", "  ", "NOTE: "))
            for line in done.err.splitlines()
            if "videos are already complete" not in line
        ), done.err
    after, ours = snapshot(root), recorded(output)
    for path, content in before.items():
        assert path in ours or after.get(path) == content, f"{path} was changed"
    for path in after.keys() - before.keys():
        inside = Path(path).relative_to(output)
        assert inside.parts[0] == "record" or sha256(Path(path)) in ours[path], f"{path} is in no record"
        assert ".part" not in path and "unfinished" not in path, f"{path} is half-written"
        if inside.parts[0] == "masks":
            Image.open(path).load()


def run(output: Path, config, fields: dict | None = None, **request) -> Outcome:
    if not PROCESSES:
        return run_evaluate(config=config, fields=fields, output=output, **request)
    name = {"custom": "custom", "davis": "davis2017_val", "youtube_vos": "youtube_vos_2019"}[config.protocol]
    checkpoint = Path(tempfile.gettempdir()) / f"hostile_checkpoint_{os.getpid()}"
    if not checkpoint.exists():
        save_checkpoint(checkpoint, variables(TINY), TINY)
    flags = [f"--{key}={value}" for key, value in request.items()]
    overrides = [f"--config.{key}={value}" for key, value in (fields or {}).items()]
    given = [f"--config=configs/evaluate/{name}.py", f"--output={output}", f"--checkpoint={checkpoint}"]
    done = run_script("evaluate.py", *given, *flags, *overrides)
    lines = done.stderr.replace("\r", "\n").splitlines()
    said = [line for line in lines if line.strip() and not ("frame" in line and line.endswith("]"))]  # without the progress bar
    return Outcome(done.returncode, done.stdout, "".join(f"{line}\n" for line in said))
