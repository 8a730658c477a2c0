"""Prints statistics of training clips: the share of each data set, the skipped frames, and the number of objects per clip.

    python benchmarks/clip_figures.py --config configs/train/main.py --config.data.data_dir=DATA --first 0,200000,400000

For each sample number in `--first`, computes statistics over consecutive clips, beginning with that sample (rounded down to a
multiple of 8). If the first mask of a clip contains no object, the script stops with exit code 1.
"""

import collections
import sys

import numpy as np
from absl import app, flags
from ml_collections import config_flags
from tqdm import tqdm

from data.clips import make_batches
from hmmn_jax.errors import HMMNError

CONFIG = config_flags.DEFINE_config_file("config", None, "Experiment config. Only the section `data` of the config is used.")
CLIPS = flags.DEFINE_integer("clips", 2000, "Number of consecutive clips for each number in --first.", lower_bound=1)
FIRST = flags.DEFINE_list("first", ["0"], "Numbers of the first samples, separated by commas.")

BATCH = 8


def count(first: int) -> None:
    """Creates consecutive clips, beginning with sample `first`, and prints their statistics."""
    sets, skips, objects = collections.Counter(), collections.defaultdict(list), collections.Counter()
    area = []
    steps = -(-CLIPS.value // BATCH)
    batches = make_batches(CONFIG.value.data, batch=BATCH, first_step=first // BATCH, steps=steps)
    for batch in tqdm(batches, total=steps, unit="batch", desc=f"from {first}"):
        for name, numbers, masks, valid in zip(batch["names"], batch["numbers"], batch["masks"], batch["valid"], strict=True):
            which = "/".join(name.decode().split("/")[:-2])
            sets[which] += 1
            objects[int(valid.sum())] += 1
            area.append((masks[0] > 0).mean())
            if not (masks[0] > 0).any() or not valid[0]:
                sys.exit(f"{name.decode()}: expected at least one object in the first mask of the clip, found none")
            if numbers[0] != numbers[2]:
                skips[which] += (np.abs(np.diff(numbers)) - 1).tolist()
    total = sum(sets.values())
    print(f"samples {first} to {first + total - 1}: {total} clips, each with at least one object")
    print(f"  objects: {', '.join(f'{part / total:.1%} of clips have {k}' for k, part in sorted(objects.items()))}")
    print(f"  median area of the first masks: {np.median(area):.1%} of the frame")
    for name, part in sorted(sets.items()):
        print(f"  {name}: {part / total:.1%}")
        if skips[name]:
            values, counts = np.unique(skips[name], return_counts=True)
            print(f"    skipped: {', '.join(f'{v}: {c / counts.sum():.1%}' for v, c in zip(values, counts, strict=True))}")


def main(_: list[str]) -> None:
    """Prints the statistics for each value of `--first`."""
    try:
        for first in FIRST.value:
            count(int(first))
    except HMMNError as error:
        print(f"clip_figures: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    app.run(main)
