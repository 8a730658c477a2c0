"""Simulates an annotator who uses `Session`, and measures how much each corrected frame improves the result.

    python benchmarks/annotator.py --out runs/annotator --data DAVIS bear camel [--data OTHER bus]
    python benchmarks/annotator.py --out runs/annotator --data DAVIS bear camel --size 240 --policies worst next random

The first frame is annotated with the ground truth, and this mask is propagated to the other frames. In each of five further
rounds, a policy selects one more frame. This frame is annotated with the ground truth, and its mask is propagated in both
directions. `worst` selects the frame with the lowest J&F, which requires the ground truth. `next` selects the frame that
`Session.next_to_annotate` returns. `random` selects a random frame and is repeated with five seeds. The bundled clip is always
one of the sequences.

Two baselines are compared with `worst`. The baseline `first` uses only the annotation of the first frame. The baseline
`forward` uses the same corrections as `worst`, but restarts at each annotated frame and propagates only forwards. With
--permanent, all policies except `random` also run with all annotated frames in the memory of each pass.

Scores are the mean J&F over objects and frames, computed once for all frames and once for the frames that no round annotates.
The tables contain the scores and the rank correlation between confidence and J. The output lists each sequence for which the
J&F of these unannotated frames decreases by more than 0.01 from one round to the next. A picture of the frame with the largest
decrease is written to OUT.

A line for each finished sequence and policy is written to OUT/rows.jsonl. Rerunning the command resumes with the missing
sequences and policies.
"""

import argparse
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.annotator_tables import falls, tables
from hmmn_jax import Segmenter, Session, load_checkpoint
from hmmn_jax.datasets.folders import choose_resolution, read_sequence
from hmmn_jax.inference import State
from hmmn_jax.inference.augmentation import Augmentation
from hmmn_jax.io.bundled import DEMO_CLIP
from hmmn_jax.io.images import is_binary, read_ids, settle_ids
from hmmn_jax.io.pictures import outline, overlay, write_image
from hmmn_jax.metrics.jf import frame_scores
from hmmn_jax.model.matching import scaled_affinity
from hmmn_jax.model.memory import MemoryBank

POLICIES = ("worst", "next", "random")
SEEDS = range(5)

Choose = Callable[[Session, np.ndarray], int]  # takes a session and the J&F of its frames; returns the next frame to annotate


def read(root: Path, name: str, size: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Reads the frames and ground-truth ids of a fully annotated sequence.

    Frames and ids are scaled to a shorter side of `size` pixels, unless `size` is 0.
    """
    files = read_sequence(root, name, choose_resolution(root))
    found = [read_ids(files.masks[t]) for t in range(len(files.frames))]
    binary = is_binary(found)
    (view,) = Augmentation(size).views(*files.images.size)
    return [view.show_frame(frame) for frame in files.images], [view.show_mask(settle_ids(ids, binary)) for ids in found]


def play(
    segmenter: Segmenter,
    frames: Sequence,
    truth: Sequence,
    rounds: int,
    choose: Choose,
    weigh_by_reliability: bool = True,
) -> Iterator[dict[str, Any]]:
    """Yields a dict for each round: the annotated frames, the masks, and J, F and confidence as arrays [T,K].

    The confidence of an object without pixels is NaN.
    """
    session = Session(segmenter, frames, weigh_by_reliability=weigh_by_reliability)
    if isinstance(segmenter, Permanent):
        segmenter.session = session
    objects = max(int(ids.max()) for ids in truth)
    t = 0
    for _ in range(rounds + 1):
        session.annotate(t, truth[t])
        for _ in session.propagate():
            pass
        masks = [session.masks[s] for s in range(len(frames))]
        j, f = scores(masks, truth)
        confidence = [[session.confidence[s, k] for k in range(1, objects + 1)] for s in range(len(frames))]
        yield {"annotated": list(session.annotated), "masks": masks, "j": j, "f": f, "confidence": np.array(confidence)}
        if len(session.annotated) == len(frames):
            return
        t = choose(session, (j + f).mean(axis=1) / 2)


def play_forward(
    segmenter: Segmenter, frames: Sequence, truth: Sequence, corrections: Sequence[int]
) -> Iterator[dict[str, Any]]:
    """Makes the given corrections one by one, with forward passes only. Yields a dict with J and F after each correction."""
    session = Session(segmenter, frames)
    for t in corrections:
        session.annotate(t, truth[t])
        stop = min((a for a in session.annotated if a > t), default=len(frames))
        if t + 1 < stop:  # the masks before t do not change
            for _ in session.propagate(t + 1, stop, "forward"):
                pass
        j, f = scores([session.masks[s] for s in range(len(frames))], truth)
        yield {"annotated": list(session.annotated), "j": j, "f": f}


def scores(masks: Sequence, truth: Sequence) -> tuple[np.ndarray, np.ndarray]:
    """Returns J and F of all frames and objects, [T,K].

    Both are 1 if neither the segmented mask nor the ground truth contains the object.
    """
    objects = max(int(ids.max()) for ids in truth)
    pairs = [frame_scores(mask, ids, objects) for mask, ids in zip(masks, truth, strict=True)]
    j, f = (np.stack(each) for each in zip(*pairs, strict=True))
    return j, f


def worst(session: Session, jf: np.ndarray) -> int:
    """Returns the unannotated frame with the lowest J&F."""
    return min((t for t in range(len(session)) if t not in session.annotated), key=lambda t: (jf[t], t))


def proposed(session: Session, _: np.ndarray) -> int:
    """Returns the frame that the session suggests to annotate next."""
    t = session.next_to_annotate()
    assert t is not None  # at least one frame is not annotated
    return t


def at_random(seed: int) -> Choose:
    """Returns a policy that selects a random unannotated frame."""
    rng = np.random.default_rng(seed)
    return lambda session, _: int(rng.choice([t for t in range(len(session)) if t not in session.annotated]))


class Permanent(Segmenter):
    """Adds all annotated frames to the memory of each pass. The frame at which the pass starts is the first memory frame.

    The other annotated frames may be far away in time. The kernels of these frames are centred on the most similar cells of the
    frame at which the pass starts.
    """

    session: Session

    def init(self, frame: Any, mask: Any) -> State:
        """Encodes the first frame of the pass and the other annotated frames. Returns the state at the first frame."""
        session, state = self.session, super().init(frame, mask)
        others = []
        for t in session.annotated:
            known = np.where(np.isin(session.masks[t], state.ids), session.masks[t], 0).astype(mask.dtype)
            if known.any() and not np.array_equal(session.video[t], frame):
                others.append((session.video[t], known))
        if not state.groups or not others:
            return state
        for image, known in [*others, (frame, mask)]:
            state, _ = super().step(state.replace(index=0), image, known)  # with index 0, the previous frame stays in memory
            state = state.replace(probs=(known == state.ids[:, None, None])[None].astype(state.probs.dtype))
        query = self.encode(frame).key_s16
        groups = tuple(group.replace(bank=_with_centres(group.bank, query, len(others))) for group in state.groups)
        return state.replace(index=1, groups=groups)  # not 0, because the frame where the pass starts is already in memory


def _with_centres(bank: MemoryBank, query: jax.Array, others: int) -> MemoryBank:
    """Centres the kernels of a bank on the most similar cells of slot 0, the frame where the pass starts."""
    cells = query.reshape(*query.shape[:1], -1, query.shape[-1])
    centres = bank.centres.at[:, :, 0].set(np.arange(cells.shape[1]))
    for slot in range(1, others + 1):
        key = bank.key_s16[:, :, slot].reshape(*bank.key_s16.shape[:2], cells.shape[1], -1)
        centres = centres.at[:, :, slot].set(scaled_affinity(key, cells).argmax(axis=2))
    return bank.replace(centres=centres)


def annotate(args: argparse.Namespace, root: Path, name: str, done: set[tuple]) -> Iterator[dict[str, Any]]:
    """Runs the missing policies on one sequence. Yields the new rows."""
    plans: list[tuple[str, int, Choose]] = []
    for policy in args.policies:
        choices = {"worst": [worst], "next": [proposed], "random": map(at_random, SEEDS)}[policy]
        plans += [(policy, seed, choose) for seed, choose in enumerate(choices)]
    if args.permanent:
        plans += [(f"{policy}, permanent", seed, choose) for policy, seed, choose in plans if policy != "random"]
    plans = [plan for plan in plans if (name, args.size, *plan[:2]) not in done]
    if not plans:
        return
    frames, truth = read(root, name, args.size)
    for policy, seed, choose in plans:
        start = time.perf_counter()
        kind = Permanent if "permanent" in policy else Segmenter
        segmenter = kind(*args.model, mem_every=args.mem_every)
        played = list(play(segmenter, frames, truth, args.rounds, choose, not args.by_position))
        row = {"sequence": name, "size": args.size, "policy": policy, "seed": seed, "checkpoint": str(args.checkpoint)}
        row["rounds"] = [_numbers(one) for one in played]
        if policy == "worst":
            before = itertools.chain([[]], (one["annotated"] for one in played))
            corrections = [next(iter({*one["annotated"]} - {*last})) for last, one in zip(before, played, strict=False)]
            row["forward"] = [_numbers(one) for one in play_forward(segmenter, frames, truth, corrections)]
        row["seconds"] = round(time.perf_counter() - start, 1)
        for r, t in falls(row):
            path = args.out / f"{name}_{args.size}_{policy.replace(', ', '_')}_{seed}_round{r}_frame{t}.png"
            write_image(path, _before_and_after(frames[t], truth[t], *(played[i]["masks"][t] for i in (r - 1, r))))
        yield row


def _numbers(played: dict[str, Any]) -> dict[str, Any]:
    """Converts the values of a round to JSON types. NaN becomes None."""
    found = {"annotated": played["annotated"]}
    for name in ("j", "f", "confidence"):
        if name in played:
            found[name] = [[None if np.isnan(x) else round(x, 4) for x in line] for line in played[name].tolist()]
    return found


def _before_and_after(frame: np.ndarray, truth: np.ndarray, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Draws the masks before and after a round side by side, each with the outline of the ground truth."""
    return np.concatenate([outline(overlay(frame, ids), truth) for ids in (before, after)], axis=1)


def main() -> None:
    """Runs the missing sequences and policies, and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder for rows and pictures")
    add(
        "--data",
        action="append",
        nargs="+",
        default=[],
        metavar=("ROOT", "SEQUENCE"),
        help="root of a data set in the layout of DAVIS, followed by names of sequences",
    )
    add("--size", type=int, default=0, help="shorter side of frames and masks in pixels; 0: full size")
    add("--policies", nargs="+", choices=POLICIES, default=["worst"])
    add("--by_position", action="store_true", help="weight passes by frame position, not by reliability (use a separate --out)")
    add("--permanent", action="store_true", help="also run the policies with all annotated frames in memory")
    add("--rounds", type=int, default=5)
    add("--checkpoint", default="lite")
    add("--mem_every", type=int, default=5)
    args = parser.parse_args()
    args.model = load_checkpoint(args.checkpoint)
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "rows.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    done = {(row["sequence"], row["size"], row["policy"], row["seed"]) for row in rows}
    sequences = [(DEMO_CLIP, "koi")] + [(Path(root), name) for root, *names in args.data for name in names]
    for root, name in sequences:
        for row in annotate(args, root, name, done):
            with path.open("a") as file:
                file.write(json.dumps(row) + "\n")
            rows.append(row)
            print(f"{name}, {row['policy']} {row['seed']}: {row['seconds']} s", file=sys.stderr, flush=True)
    names = [name for _, name in sequences]
    print(tables([row for row in rows if row["sequence"] in names and row["size"] == args.size]))


if __name__ == "__main__":
    main()
