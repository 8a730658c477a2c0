"""Measures training clips per second on one core, with this package and with the same augmentations in Pillow.

    python benchmarks/input_pipeline.py --data_dir DATA --stills image_masks/ccp image_masks/human image_masks/camvid
    python benchmarks/input_pipeline.py --data_dir DATA --videos davis/2016_480p:val

Augmentations in Pillow are common in PyTorch code. In each round, each implementation runs in a new process on one core. The
speed is measured after a warm-up. Prints the medians over the rounds and their ratio. For this package, the script also prints
the time for reading, decoding and transforming, and the time to the first batch at step 0 and at step 100,000. Run the script
on an otherwise idle machine.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import warnings

WARM_UP = 60  # number of clips
SIZE = 384


def make_config(args: argparse.Namespace):
    """Returns a 384x384 data config for the given data sets, with all augmentations of pre-training or main training."""
    from configs.train import data

    names = args.stills or args.videos
    sets = {}
    for place, name in enumerate(names):
        name, _, split = name.partition(":")
        sets[f"set{place}"] = data.source(name, still=bool(args.stills), split=split or "train")
    config = data.stills(sets) if args.stills else data.videos(sets, ((0, 25),))
    config.data_dir, config.workers = args.data_dir, 1
    return config


def timed(step, warm_up: int, count: int) -> float:
    """Returns the mean time of a call in seconds, over `count` calls after a warm-up."""
    for _ in range(warm_up):
        step()
    start = time.perf_counter()
    for _ in range(count):
        step()
    return (time.perf_counter() - start) / count


def measure_ours(args: argparse.Namespace) -> dict[str, float]:
    """Measures the seconds per clip with `make_batches`, and the seconds to the first batch."""
    from data.clips import make_batches

    config, seconds = make_config(args), {}
    for name, step in (("first", 0), ("first_at_0", 0), ("first_at_100000", 100_000)):  # the first run also starts TensorFlow
        start = time.perf_counter()
        batches = make_batches(config, batch=4, first_step=step)
        next(batches)
        seconds[name] = time.perf_counter() - start
        batches.close()
    batches = make_batches(config, batch=4, first_step=0)
    seconds["clip"] = timed(lambda: next(batches), WARM_UP // 4, args.clips // 4) / 4
    return seconds


def measure_parts(args: argparse.Namespace) -> dict[str, float]:
    """Measures the seconds per clip for reading, decoding and transforming, on the same samples."""
    import tensorflow as tf

    from data.clips import clip, decode, pipeline, plan
    from data.clips.draws import Draws

    config = make_config(args)
    fetcher = pipeline.open_fetcher(config)

    def draws(sample: tf.Tensor) -> Draws:
        return Draws(tf.constant(config.seed, tf.int64), sample, tf.constant(0))

    def read(sample: tf.Tensor):
        return fetcher(plan.make_plan(config, fetcher.tables, sample, draws(sample)).frames)

    def read_and_decode_masks(sample: tf.Tensor):
        return [decode.decode_mask(png) for png in tf.unstack(read(sample)[1])]

    def decode_images(sketch: clip.Sketch):
        parts = (tf.unstack(part) for part in (sketch.jpegs, sketch.sizes, sketch.windows, sketch.shrink, sketch.orientations))
        return [decode.decode_image(*part) for part in zip(*parts, strict=True)]

    def mean_seconds(function, inputs) -> float:
        compiled, inputs = tf.function(function, autograph=False), iter(inputs)
        return timed(lambda: compiled(next(inputs)), WARM_UP, args.clips)

    samples = [tf.constant(sample, tf.int64) for sample in range(WARM_UP + args.clips)]
    sketch = tf.function(lambda sample: clip.sketch_clip(config, fetcher, sample, draws(sample)), autograph=False)
    sketches = [sketch(sample) for sample in samples]
    reading = mean_seconds(read, samples)
    decoding = mean_seconds(read_and_decode_masks, samples) - reading + mean_seconds(decode_images, sketches)
    whole = mean_seconds(lambda sample: clip.make_clip(config, fetcher, sample), samples)
    return {"reading": reading, "decoding": decoding, "transforming": whole - reading - decoding}


def measure_peer(args: argparse.Namespace) -> dict[str, float]:
    """Measures the seconds per clip with Pillow."""
    from benchmarks.pil_clips import PilClips
    from data.clips import pipeline

    config = make_config(args)
    sources = [(source, bool(args.stills)) for source in pipeline.open_fetcher(config).sources]
    return {"clip": timed(PilClips(config, sources).clip, 10, args.clips // 2)}


WORKERS = {"ours": measure_ours, "parts": measure_parts, "peer": measure_peer}


def run(worker: str) -> dict[str, float]:
    """Runs a worker in a new process and returns its measurements."""
    command = [sys.executable, os.path.abspath(__file__), *sys.argv[1:], "--worker", worker]
    environment = {**os.environ, "PYTHONPATH": os.getcwd(), "TF_CPP_MIN_LOG_LEVEL": "3"}
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
    return json.loads(output.splitlines()[-1])


def main() -> None:
    """Runs both implementations alternately, and prints the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", required=True)
    stage = parser.add_mutually_exclusive_group(required=True)
    stage.add_argument("--stills", nargs="+", metavar="SET[:SPLIT]", help="data sets for pre-training")
    stage.add_argument("--videos", nargs="+", metavar="SET[:SPLIT]", help="data sets for main training")
    parser.add_argument("--clips", type=int, default=200, help="clips to time in each process (with Pillow, half as many)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--worker", choices=WORKERS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        warnings.filterwarnings("ignore")
        print(json.dumps(WORKERS[args.worker](args)))
        return
    rounds = []
    for place in range(args.rounds):
        rounds.append({worker: run(worker) for worker in WORKERS})
        print(f"round {place + 1} of {args.rounds} is complete", file=sys.stderr)

    def median(worker: str, name: str) -> float:
        return statistics.median(found[worker][name] for found in rounds)

    ours, peer = median("ours", "clip"), median("peer", "clip")
    sets = " ".join(args.stills or args.videos)
    print(
        f"{sets}, {SIZE}x{SIZE}, one core. Each value is a median of {args.rounds} processes with {args.clips} clips each "
        "(with Pillow, half as many clips)."
    )
    print(f"clips/s: this package {1 / ours:.1f}, Pillow {1 / peer:.1f}, ratio {peer / ours:.2f}")
    parts = {name: median("parts", name) for name in ("reading", "decoding", "transforming")}
    total = sum(parts.values())
    print(", ".join(f"{name} {1000 * part:.1f} ms ({part / total:.0%})" for name, part in parts.items()))
    first = [median("ours", f"first_at_{step}") for step in (0, 100_000)]
    print(
        f"The first batch of 4 clips took {first[0]:.1f} s when starting at step 0, and {first[1]:.1f} s when starting at step "
        "100,000."
    )


if __name__ == "__main__":
    main()
