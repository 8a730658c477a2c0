"""Measures the time and peak memory of the forward and backward pass for one three-frame clip.

    python benchmarks/training.py --peer "python PEER.py train-time --height 384 --width 384 --objects 1"
    python benchmarks/training.py --remat

Computes the training loss of the published network and the gradients of all parameters, without an update. With --peer, the
time and memory are compared with those of another implementation (peer). Each round starts a new process for this project and
then a new process for the peer. The implementations thus run under the same conditions, and their peak memory is measured
separately. Peak memory includes compilation. The size of XLA's buffers is also printed. The peer must print a JSON line with
`seconds_per_clip_forward_backward` and `peak_mb`. Prints the medians over the rounds, and their ratios. Run the script on an
otherwise idle machine.
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

SECONDS, PEAK, BUFFERS = "seconds_per_clip_forward_backward", "peak_mb", "buffers_mb"


def measure(height: int, width: int, objects: int, runs: int, **switches: str | bool) -> None:
    """Prints a JSON line with the median time of `runs` clips, the peak memory of this process, and the size of the buffers."""
    import jax
    import jax.numpy as jnp

    from hmmn_jax import HMMNConfig
    from hmmn_jax.model.hmmn import abstract_variables
    from hmmn_jax.training.train_step import clip_loss

    rng = np.random.default_rng(0)

    def random_leaf(leaf):
        if len(leaf.shape) == 4:
            return rng.normal(0, np.sqrt(2 / np.prod(leaf.shape[:3])), leaf.shape).astype(np.float32)
        return np.ones(leaf.shape, leaf.dtype)

    config = HMMNConfig(**switches)
    variables = jax.tree.map(lambda leaf: jnp.asarray(random_leaf(leaf)), abstract_variables(config))
    params = variables.pop("params")
    masks = np.zeros((1, 3, height, width), np.uint8)
    for k in range(objects):
        left = (k + 1) * width // (objects + 2)
        masks[:, :, height // 4 : height // 2, left : left + width // 8] = k + 1
    frames = rng.integers(0, 256, (1, 3, height, width, 3), np.uint8)
    batch = {"frames": frames, "masks": masks, "valid": np.ones((1, objects), bool)}

    @jax.jit
    def gradients_of(params, constants, batch):
        return jax.value_and_grad(lambda params: clip_loss(config, {"params": params, **constants}, batch)[0])(params)

    compiled = gradients_of.lower(params, variables, batch).compile()
    times = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        jax.block_until_ready(compiled(params, variables, batch))
        times.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    buffers = compiled.memory_analysis().temp_size_in_bytes // 2**20
    print(json.dumps({SECONDS: statistics.median(times[1:]), PEAK: peak, BUFFERS: buffers}), flush=True)


def run(command: list[str]) -> dict[str, float]:
    """Runs a command and returns the last JSON line that it prints."""
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads([line for line in output.splitlines() if line.startswith("{")][-1])


def main() -> None:
    """Runs both implementations alternately, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--height", type=int, default=384)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--objects", type=int, default=1)
    parser.add_argument("--dtype", default=None, help="compute dtype")
    parser.add_argument("--remat", action="store_true", help="recompute activations in the backward pass")
    parser.add_argument("--winograd", action="store_true", help="use approximate (Winograd) convolutions, forward and backward")
    parser.add_argument("--runs", type=int, default=3, help="number of measured clips per process, after one warm-up clip")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", default=None, help="command that runs the other implementation")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        switches = {"dtype": args.dtype, "remat": args.remat, "winograd": args.winograd}
        return measure(args.height, args.width, args.objects, args.runs, **switches)
    ours = [sys.executable, os.path.abspath(__file__), *sys.argv[1:], "--worker"]
    rounds = []
    for index in range(args.rounds):
        rounds.append((run(ours), run(shlex.split(args.peer)) if args.peer else None))
        print(f"round {index + 1} of {args.rounds} is complete: {rounds[-1]}", file=sys.stderr)
    print(
        f"{args.height}x{args.width}, {args.objects} objects. Each value is a median of {args.rounds} processes with "
        f"{args.runs} clips each. A ratio is the value of this package divided by the value of the peer."
    )
    print("                |   ours   peer  ratio")
    for name, key, form in (("s per clip", SECONDS, "6.2f"), ("peak memory, MB", PEAK, "6.0f")):
        here = statistics.median(ours[key] for ours, _ in rounds)
        row = f"{name:15} | {here:{form}}"
        if args.peer:
            there = statistics.median(peer[key] for _, peer in rounds)
            row += f" {there:{form}} {here / there:6.2f}"
        print(row)
    print(f"{'XLA buffers, MB':15} | {statistics.median(ours[BUFFERS] for ours, _ in rounds):6.0f}")
    return None


if __name__ == "__main__":
    main()
