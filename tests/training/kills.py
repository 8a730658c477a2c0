"""Kills a run ten times at random moments, and compares its result with that of an uninterrupted run.

    python -m tests.training.kills --kills 10 --folder FOLDER

The run writes a checkpoint after every step, so that many kills happen while a checkpoint is written. About three of ten kills
happen in the first five seconds of a process. All processes use one device. The exit code is 0 if the last checkpoints of both
runs are bit-identical.
"""

import argparse
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp

from hmmn_jax.checkpoints.steps import finished_steps

STEPS = 120


def start(folder, workdir):
    """Starts a run in a separate process. The run writes a checkpoint after every step."""
    command = [sys.executable, "-m", "tests.training.tiny_run", str(workdir), "", str(folder / "cache"), str(STEPS), "1"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=(folder / "stderr.txt").open("a"))


def latest(workdir):
    """Returns the number of the last finished step, or 0 before the first step is finished."""
    return max(finished_steps(workdir), default=0)


def kill_at_random(process, workdir):
    """Kills the process at a random moment. Returns a line about the progress of the run and its incomplete checkpoints."""
    begin, before = time.monotonic(), latest(workdir)
    if random.random() < 0.3:
        moment = random.uniform(0, 5)
        while process.poll() is None and time.monotonic() - begin < moment:
            time.sleep(0.01)
    else:
        while process.poll() is None and latest(workdir) == before:
            time.sleep(0.01)
        time.sleep(random.uniform(0, 0.5))
    if process.poll() is not None:
        raise SystemExit(f"the run ended by itself with exit code {process.returncode}; see stderr.txt")
    process.send_signal(signal.SIGKILL)
    process.wait()
    writing = [path.name for path in (workdir / "checkpoints").glob("*tmp*")]
    return f"steps {before} to {latest(workdir)}; left half-written: {', '.join(writing) or 'nothing'}"


def tensors(workdir):
    """Returns all arrays of the last checkpoint, by name."""
    step = workdir / "checkpoints" / str(latest(workdir))
    with ocp.PyTreeCheckpointer() as checkpointer:
        trees = [checkpointer.restore(step / name) for name in ("variables", "training")]
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree.leaves_with_path(trees)}


def main():
    """Parses the command line, performs both runs and compares them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--folder", type=Path, required=True, help="folder for the runs; must not exist")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random times")
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    arguments.folder.mkdir(parents=True)

    undisturbed, killed = arguments.folder / "undisturbed", arguments.folder / "killed"
    if start(arguments.folder, undisturbed).wait():
        raise SystemExit("the undisturbed run failed; see stderr.txt")
    for kill in range(arguments.kills):
        print(f"kill {kill + 1}: {kill_at_random(start(arguments.folder, killed), killed)}", flush=True)
    if start(arguments.folder, killed).wait():
        raise SystemExit("the last start failed; see stderr.txt")

    expected, found = tensors(undisturbed), tensors(killed)
    different = [name for name in expected if found[name].tobytes() != expected[name].tobytes()]
    print(f"step {latest(killed)}: {len(different)} of {len(expected)} tensors differ")
    raise SystemExit(1 if different or latest(killed) != STEPS else 0)


if __name__ == "__main__":
    main()
