"""Measures seconds per frame and peak memory of inference, optionally also of another implementation.

    python benchmarks/inference.py --memory 2 20 --peer "python PEER.py time --memory 2 20"
    python benchmarks/inference.py --objects 3 --memory 2 --peer "python PEER.py time --objects 3 --memory 2"
    python benchmarks/inference.py --checkpoint lite

Each round starts a new process for this project and then a new process for the other implementation (peer). The implementations
thus run under the same conditions, and their peak memory is measured separately. For each memory size, the peer must print a
JSON line with `memory_frames`, `seconds_per_frame` and `peak_mb`. Without --checkpoint, the published network is used with
random weights. Prints the medians over the rounds, and their ratios. Run the script on an otherwise idle machine.
"""

import argparse
import json
import os
import resource
import shlex
import statistics
import subprocess
import sys
import time

import numpy as np


def measure(height: int, width: int, objects: int, memory: list[int], runs: int, checkpoint: str | None = None) -> None:
    """Prints a JSON line for each memory size, with the median time of `runs` frames."""
    import jax

    from hmmn_jax import HMMNConfig, Segmenter, load_checkpoint
    from hmmn_jax.inference.host_memory import keep_host_memory_small
    from hmmn_jax.model.hmmn import abstract_variables

    keep_host_memory_small()  # evaluate.py also calls this function
    rng = np.random.default_rng(0)

    def random_leaf(leaf):
        if len(leaf.shape) == 4:
            return rng.standard_normal(leaf.shape, np.float32) * np.float32(np.sqrt(2 / np.prod(leaf.shape[:3])))
        return np.ones(leaf.shape, leaf.dtype)

    if checkpoint:
        variables, config = load_checkpoint(checkpoint)
    else:
        config = HMMNConfig()
        variables = jax.tree.map(random_leaf, abstract_variables(config))
    segmenter = Segmenter(variables, config, mem_every=1)
    del variables  # evaluate.py also deletes this reference; the segmenter has a copy
    frame = rng.integers(0, 256, (height, width, 3), np.uint8)
    mask = np.zeros((height, width), np.uint8)
    for k in range(objects):
        left = (k + 1) * width // (objects + 2)
        mask[height // 4 : height // 2, left : left + width // 8] = k + 1
    state = segmenter.init(frame, mask)
    for frames in sorted(memory):
        segmenter.mem_every = 1
        while not (state.groups[0].bank is not None and state.groups[0].kept == frames - 1):
            state, result = segmenter.step(state, frame, donate=True)
        segmenter.mem_every = sys.maxsize  # from here on, no frames are added to the memory
        times = []
        for _ in range(runs + 1):
            start = time.perf_counter()
            state, result = segmenter.step(state, frame, donate=True)
            result.mask.block_until_ready()
            times.append(time.perf_counter() - start)
        seconds = statistics.median(times[1:])
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(json.dumps({"memory_frames": frames, "seconds_per_frame": seconds, "peak_mb": peak}), flush=True)


def run(command: list[str]) -> dict[int, dict[str, float]]:
    """Runs a command and returns the JSON lines that the command prints, by memory size."""
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    return {line["memory_frames"]: line for line in lines}


def main() -> None:
    """Runs both implementations alternately, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=864)
    parser.add_argument("--objects", type=int, default=1)
    parser.add_argument(
        "--memory", type=int, nargs="+", default=[2], help="numbers of memory frames, including the previous one (2 or more)"
    )
    parser.add_argument("--runs", type=int, default=3, help="number of measured frames per process, after one warm-up frame")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", default=None, help="command that runs the other implementation")
    parser.add_argument("--checkpoint", default=None, help="path of a checkpoint, or name of a bundled model")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        return measure(args.height, args.width, args.objects, args.memory, args.runs, args.checkpoint)
    ours = [sys.executable, os.path.abspath(__file__), *sys.argv[1:], "--worker"]
    rounds = []
    for index in range(args.rounds):
        rounds.append((run(ours), run(shlex.split(args.peer)) if args.peer else None))
        print(f"round {index + 1} of {args.rounds} is complete", file=sys.stderr)
    print(
        f"{args.height}x{args.width}, {args.objects} objects. Each value is a median of {args.rounds} processes with "
        f"{args.runs} frames each. memory: number of memory frames; ratio: this project divided by the peer."
    )
    print("memory | s per frame   peer  ratio |  peak MB   peer  ratio |")
    for frames in sorted(args.memory):
        row = f"{frames:6} |"
        for key, form in (("seconds_per_frame", "11.3f"), ("peak_mb", "8.0f")):
            here = statistics.median(ours[frames][key] for ours, _ in rounds)
            row += f" {here:{form}}"
            if args.peer:
                there = statistics.median(peer[frames][key] for _, peer in rounds)
                row += f" {there:6.{form[-2:]}} {here / there:6.2f} |"
        print(row)
    return None


if __name__ == "__main__":
    main()
