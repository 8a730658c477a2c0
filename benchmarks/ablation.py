"""Runs an ablation study: scores a checkpoint with parts of the memory disabled.

    python benchmarks/ablation.py --checkpoint lite --data DAVIS

Prints a table with J&F, J and F on DAVIS-2016, by default at the original frame size. All objects of the first mask are treated
as one object. All rows of the table use the same weights. This is possible because training randomly disables the memories at
strides 8 and 4. The last row is a baseline that repeats the first mask and uses no model.
"""

import argparse
from pathlib import Path

import flax
import numpy as np
from absl import logging
from tqdm import tqdm

from hmmn_jax import HMMNConfig, Segmenter, load_checkpoint
from hmmn_jax.datasets.davis import read_davis
from hmmn_jax.datasets.folders import VideoFiles
from hmmn_jax.evaluation.clips import open_sequence
from hmmn_jax.evaluation.plans import plan_davis
from hmmn_jax.io.images import read_mask
from hmmn_jax.io.notes import Notes
from hmmn_jax.metrics.davis import SequenceScores, score_sequence, summarize
from hmmn_jax.model.hmmn import abstract_variables
from hmmn_jax.training.validation import validate

FIRST_ONLY = {"max_memory_frames": 1}
# For each row of the table: the changes to the model config, and the changes to the settings of the `Segmenter`.
VARIANTS: dict[str, tuple[dict, dict]] = {
    "unchanged model (every 5th frame in memory)": ({}, {}),
    "no top-k reads (strides 8 and 4)": ({"use_topk_read": False}, {}),
    "no kernel": ({"use_kernel": False}, {}),
    "no top-k reads, no kernel": ({"use_topk_read": False, "use_kernel": False}, {}),
    "every frame in memory": ({}, {"mem_every": 1}),
    "every 10th frame in memory": ({}, {"mem_every": 10}),
    "first and previous frame in memory": ({}, FIRST_ONLY),
}


def those_of(config: HMMNConfig, variables: dict) -> dict:
    """Selects the variables that a model with this config needs."""
    wanted = flax.traverse_util.flatten_dict(abstract_variables(config))
    found = flax.traverse_util.flatten_dict(variables)
    return flax.traverse_util.unflatten_dict({path: found[path] for path in wanted})


def repeat_first_mask(sequence: VideoFiles) -> SequenceScores:
    """Scores a method that repeats the first mask in every frame."""
    masks = np.stack([read_mask(sequence.masks[t]) for t in range(len(sequence.frames))])
    return score_sequence(np.broadcast_to(masks[:1], masks.shape), masks, single_object=True, name=sequence.name)


def main() -> None:
    """Scores all variants and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="a folder in the layout of DAVIS-2016")
    parser.add_argument("--split", default="val")
    parser.add_argument("--sequences", nargs="*", help="use only these sequences")
    parser.add_argument("--size", type=int, default=0, help="shorter side of the network's input in pixels; 0: frame size")
    parser.add_argument("--only", nargs="*", help="print only the rows whose names start with one of these prefixes")
    args = parser.parse_args()
    logging.set_verbosity(logging.ERROR)
    variables, config = load_checkpoint(args.checkpoint)
    sequences = read_davis(args.data, "2016", args.split, None, names=args.sequences and tuple(args.sequences))
    plans = [plan_davis(open_sequence(sequence), True, "", Notes()) for sequence in sequences]
    chosen = {name: of for name, of in VARIANTS.items() if not args.only or name.startswith(tuple(args.only))}
    names = [sequence.name for sequence in sequences]
    rows = [["", "J&F", "J", "F", *names]]
    for name, (changes, remembering) in tqdm(chosen.items(), unit="row"):
        model = config.replace(**changes)
        segmenter = Segmenter(those_of(model, variables), model, **remembering)
        result = validate([segmenter], plans, args.size)
        figures = [result.scores[key] for key in ("jf", "j", "f")] + [result.sequences[sequence] for sequence in names]
        rows.append([name, *(f"{figure:.3f}" for figure in figures)])
    if not args.only:
        repeated = [repeat_first_mask(sequence) for sequence in sequences]
        mean = summarize(repeated)
        figures = [mean.jf_mean, mean.j.mean, mean.f.mean, *(summarize([scores]).jf_mean for scores in repeated)]
        label = "*no model: the mask of the first frame is repeated in every frame*"
        rows.append([label, *(f"*{figure:.3f}*" for figure in figures)])
    print(*("| " + " | ".join(row) + " |" for row in (rows[0], ["---"] * len(rows[0]), *rows[1:])), sep="\n")


if __name__ == "__main__":
    main()
