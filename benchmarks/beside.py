"""Compares the frames per second of evaluate.py in this checkout and in another checkout of the project.

    git worktree add OTHER COMMIT
    python benchmarks/beside.py --frames DIR --mask FIRST.png --checkpoint lite --other OTHER --other_checkpoint OTHER/MODEL

Runs evaluate.py several times on the same frames, alternating between the two checkouts. Each run prints its frames per second.
Compilation is excluded. The script prints all measurements, their medians and the ratio. The script also prints the load of the
machine, measured before the first process starts. Run the script on an otherwise idle machine.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
CONFIGS = ("configs/evaluate/custom.py", "configs/custom.py")  # path of the config: now, and in version 0.1
WAY_OUT = "--xla_cpu_experimental_ynn_fusion_type="  # avoids wrong results; see hmmn_jax/ops/canary.py


def frames_per_second(checkout: Path, checkpoint: Path | str, frames: Path, mask: Path) -> float:
    """Runs evaluate.py in a checkout, deletes the output files, and returns the frames per second that evaluate.py prints."""
    config = next(place for place in CONFIGS if (checkout / place).exists())
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "evaluate.py", "--config", config, "--frames", frames, "--mask", mask]
        command += ["--checkpoint", checkpoint, "--output", f"{folder}/run"]
        environment = os.environ | {"PYTHONPATH": str(checkout), "XLA_FLAGS": os.environ.get("XLA_FLAGS", WAY_OUT)}
        done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True)
    found = re.search(r"\(([\d.]+) frames/s\)", done.stdout + done.stderr)
    if not found:
        raise SystemExit(f"{checkout}: evaluate.py printed no frames per second:\n{done.stdout}{done.stderr}")
    return float(found[1])


def main() -> None:
    """Runs evaluate.py alternately in both checkouts, and prints the frames per second, the medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("frames", "mask", "other"):
        parser.add_argument(f"--{name}", type=lambda path: Path(path).absolute(), required=True)
    for name in ("checkpoint", "other_checkpoint"):  # paths, or names of bundled models
        parser.add_argument(
            f"--{name}", type=lambda text: Path(text).absolute() if Path(text).exists() else text, required=True
        )
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    print(f"load of the machine before the first process: {os.getloadavg()[0]:.1f}", flush=True)
    ours, others = [], []
    for _ in range(given.rounds):
        ours.append(frames_per_second(ROOT, given.checkpoint, given.frames, given.mask))
        others.append(frames_per_second(given.other, given.other_checkpoint, given.frames, given.mask))
        print(f"this checkout: {ours[-1]:.2f} frames/s, other checkout: {others[-1]:.2f} frames/s", flush=True)
    here, there = statistics.median(ours), statistics.median(others)
    print(
        f"medians of {given.rounds} rounds, in frames/s: this checkout {here:.2f}, other checkout {there:.2f}, "
        f"ratio {here / there:.2f}"
    )


if __name__ == "__main__":
    main()
