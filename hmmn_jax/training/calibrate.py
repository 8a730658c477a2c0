"""How sure of objects a model is, set by sequences that it was not trained on.

    python -m hmmn_jax.training.calibrate RUN --data DAVIS --split train --sequences bus rhino --size 128 --out OUT

Pixels of hard clips are mostly background, and a model that is unsure says so. In a video that feeds on itself: a mask below
one half is remembered as less than it was, until nothing is left. One number mends it: a shift of the log-odds that the last
layer gives to an object. Tried are a few; the one with the best J&F is kept, and OUT is a checkpoint like RUN but for that.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging
from ml_collections import ConfigDict
from tqdm import tqdm

from hmmn_jax.checkpoint import load_checkpoint, save_checkpoint
from hmmn_jax.errors import HMMNError
from hmmn_jax.inference import Segmenter
from hmmn_jax.layouts import read_davis
from hmmn_jax.training.validation import require_annotations, validate

SHIFTS = (0.0, 0.3, 0.5, 0.7)


def shift_objects(variables: dict[str, Any], shift: float) -> dict[str, Any]:
    """The variables of a model that gives each object's pixels log-odds higher by `shift`, before soft aggregation."""
    shifted = jax.tree.map(np.array, variables)
    shifted["params"]["decoder"]["conv_predict"]["bias"] += np.array([-shift / 2, shift / 2], np.float32)
    return shifted


def main(arguments: Sequence[str] | None = None) -> None:
    """Does what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, metavar="RUN")
    parser.add_argument("--data", type=Path, required=True, help="a folder laid out as DAVIS-2016 is")
    parser.add_argument("--split", default="train")
    parser.add_argument("--sequences", nargs="*", help="of the split; all of them if none are named")
    parser.add_argument("--size", type=int, default=0, help="shorter side of what the network sees; 0: as the frames are")
    parser.add_argument("--shifts", type=float, nargs="*", default=SHIFTS)
    parser.add_argument("--out", type=Path, required=True, help="checkpoint to write")
    parsed = parser.parse_args(arguments)
    logging.set_verbosity(logging.ERROR)  # Orbax tells of every thread
    try:
        variables, config = load_checkpoint(parsed.checkpoint)
        sequences = read_davis(parsed.data, "2016", parsed.split, None, names=tuple(parsed.sequences or ()) or None)
        require_annotations(sequences)
        settings, found = ConfigDict({"size": parsed.size, "single_object": True}), {}
        for shift in tqdm(parsed.shifts, unit="shift"):
            found[shift] = validate(Segmenter(shift_objects(variables, shift), config), sequences, settings).scores["jf"]
        best = max(found, key=found.__getitem__)
        save_checkpoint(parsed.out, shift_objects(variables, best), config)
    except HMMNError as error:
        print(f"calibrate: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    print(*(f"shift {shift:5.2f}: J&F {score:.3f}" for shift, score in found.items()), sep="\n")
    print(f"{parsed.checkpoint} -> {parsed.out}: shift {best}")


if __name__ == "__main__":
    main()
