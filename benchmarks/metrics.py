"""Measures the time per frame to compute J and F, or the metrics of MOSE v2, on one core with generated masks.

    python benchmarks/metrics.py
    python benchmarks/metrics.py --objects 1 --height 1080 --width 1920
    python benchmarks/metrics.py --scale 0.1  # small objects, for which adaptive F uses a different tolerance

The masks are ellipses with wavy, textured boundaries and small holes. The prediction is the ground truth at a slightly
different position and with a different boundary. Each printed time is the median over rounds on one core. The time for J and F
is printed twice: once for masks in memory, and once including the time to read the prediction and the ground truth from PNGs.
The official DAVIS toolkit took 6.9 ms per frame at 480x854. Run the script on an otherwise idle machine.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from hmmn_jax.io.images import read_ids, write_mask
from hmmn_jax.metrics import mose2
from hmmn_jax.metrics.jf import frame_scores


def make_masks(rng: np.random.Generator, frames: int, height: int, width: int, objects: int, scale: float) -> np.ndarray:
    """Generates ids, `uint8 [2, frames, height, width]`. Index 0 is the prediction, and index 1 is the ground truth."""
    y, x = np.mgrid[:height, :width]
    ids = np.zeros((2, frames, height, width), np.uint8)
    for k in range(1, objects + 1):
        centre = np.array([rng.uniform(0.3, 0.7) * height, k / (objects + 1) * width])
        axes = rng.uniform(0.15, 0.3, 2) * height * scale
        for t in range(frames):
            centre += rng.normal(0, 0.01 * height, 2)
            for masks in ids[:, t]:
                dy, dx = y - centre[0] - rng.normal(0, 3), x - centre[1] - rng.normal(0, 3)
                angle = np.arctan2(dy, dx)
                rim = 1 + sum(rng.normal(0, 0.05) * np.sin(waves * angle + rng.uniform(0, 6)) for waves in (2, 5, 11, 29))
                masks[np.hypot(dy / axes[0], dx / axes[1]) + rng.normal(0, 0.015, dy.shape) < rim] = k
    holes = rng.random(ids.shape) < 0.0005
    return np.where(holes, 0, ids).astype(np.uint8)


def milliseconds(score: Callable[[int], object], frames: int, rounds: int) -> float:
    """Returns the time per frame in milliseconds: the median over rounds of the mean over frames."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        for t in range(frames):
            score(t)
        times.append((time.perf_counter() - start) / frames * 1000)
    return statistics.median(times)


def main() -> None:
    """Measures and prints the times and scores for each number of objects."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=854)
    parser.add_argument("--objects", type=int, nargs="+", default=[1, 3, 5, 10])
    parser.add_argument("--scale", type=float, default=1.0, help="factor by which the size of objects is multiplied")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
    rng = np.random.default_rng(0)
    print(
        f"{args.height}x{args.width}, one core. Each time is a median of {args.rounds} rounds with {args.frames} frames each."
    )
    print("objects | J and F, ms per frame | MOSE v2, ms per frame | J and F including PNG reading, ms per frame | mean J, F")
    for objects in args.objects:
        pred, truth = make_masks(rng, args.frames, args.height, args.width, objects, args.scale)
        with tempfile.TemporaryDirectory() as folder:
            paths = [[Path(folder) / f"{kind}{t}.png" for t in range(args.frames)] for kind in "pt"]
            for t in range(args.frames):
                write_mask(paths[0][t], pred[t])
                write_mask(paths[1][t], truth[t])
            memory = milliseconds(lambda t: frame_scores(pred[t], truth[t], objects), args.frames, args.rounds)  # noqa: B023
            adaptive = milliseconds(lambda t: mose2.frame_scores(pred[t], truth[t], objects), args.frames, args.rounds)  # noqa: B023
            files = milliseconds(
                lambda t: frame_scores(read_ids(paths[0][t]), read_ids(paths[1][t]), objects),  # noqa: B023
                args.frames,
                args.rounds,
            )
        j, f = np.mean([frame_scores(pred[t], truth[t], objects) for t in range(args.frames)], axis=(0, 2))
        print(f"{objects:7} | {memory:10.2f} | {adaptive:7.2f} | {files:14.2f} | {j:.3f}, {f:.3f}")


if __name__ == "__main__":
    main()
