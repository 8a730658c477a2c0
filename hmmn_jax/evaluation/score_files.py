"""J and F of masks on disk, whatever wrote them, against a benchmark's annotations; as a table, JSON and CSV."""

import csv
import json
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from hmmn_jax.errors import DataError, HMMNError
from hmmn_jax.evaluation.scores import SequenceScores, Statistics, Summary, score_frames, scored_frames, summarize
from hmmn_jax.layouts import Sequence, atomic_path, fit_mask, read_ids, read_image
from hmmn_jax.layouts.files import contents, discard

SUMMARY, PER_SEQUENCE, PER_FRAME = "summary.json", "per_sequence.csv", "per_frame.csv"
REPORT = "report.html"
FRAMES_WORTH_A_PROCESS = 400  # a process takes about two seconds to start, in which another scores that many


def score_folder(folder: Path, sequences: list[Sequence], single_object: bool, processes: int = 1) -> list[SequenceScores]:
    """Scores the masks `folder/SEQUENCE/FRAME.png` of annotated sequences, always anew; protocol as `score_sequence`.

    The masks of the first and the last frame may be missing. `processes` is the most to use; with more than one, the main
    script needs its `if __name__ == "__main__"`.

    Raises DataError, which names the file, for a mask that is missing, cannot be read, has not the size of the frames or has
    an id that the first annotation has not; and for a sequence that is not annotated throughout. HMMNError if a process dies.
    """
    for sequence in sequences:
        _check_files(folder, sequence)
    lengths = [len(sequence.frames) - 2 for sequence in sequences]
    processes = min(processes, len(sequences), 1 + sum(lengths) // FRAMES_WORTH_A_PROCESS)
    score = partial(_score, folder, single_object)
    with _pool(processes) as pool, tqdm(total=sum(lengths), unit="frame", desc="scoring") as bar:
        found = []
        try:
            for scores in (pool.map if pool else map)(score, sequences):
                found.append(scores)
                bar.update(len(scores.frame_names))
        except BrokenProcessPool as error:
            raise HMMNError(f"{folder}: a scoring process was killed, perhaps for lack of memory; score again") from error
    return found


def lacks_annotations(sequence: Sequence) -> str | None:
    """Says why a sequence cannot be scored, or gives None if all its frames are annotated."""
    missing = [frame.name for i, frame in enumerate(sequence.frames) if i not in sequence.masks]
    count = f"{len(missing)} of {len(sequence.frames)} frames lack one"
    return f"{sequence.name}: no annotation of {missing[0]} ({count})" if missing else None


def score_table(scores: list[SequenceScores]) -> str:
    """A table for the terminal: every sequence, and the mean over all objects, to three digits."""
    width = max(len("mean over objects"), *(len(s.name) for s in scores))
    head = f"{'':{width}}  objects    J&F  |  J mean  recall   decay  |  F mean  recall   decay"
    rows = [(s.name, summarize([s])) for s in scores] + [("mean over objects", summarize(scores))]
    lines = [
        f"{name:{width}}  {row.objects:7}  {row.jf_mean:5.3f}  |  "
        + "  |  ".join(f"{s.mean:6.3f}  {s.recall:6.3f}  {s.decay:6.3f}" for s in (row.j, row.f))
        for name, row in rows
    ]
    return "\n".join([head, *lines[:-1], "-" * len(head), lines[-1]])


def write_scores(folder: Path, scores: list[SequenceScores], about: dict[str, Any]) -> None:
    """Writes all figures in full: `summary.json`, `per_sequence.csv` and `per_frame.csv`, each whole or not at all.

    `about` says what was scored, and goes into `summary.json`. Raises DataError where a file cannot be written.
    """
    by_sequence = [(s, summarize([s])) for s in scores]
    _write_csv(
        folder / PER_SEQUENCE,
        ("sequence", "objects", "frames", "J&F", "J", "J recall", "J decay", "F", "F recall", "F decay"),
        ((s.name, row.objects, len(s.frame_names), row.jf_mean, *_row(row.j), *_row(row.f)) for s, row in by_sequence),
    )
    _write_csv(
        folder / PER_FRAME,
        ("sequence", "object", "frame", "J", "F"),
        (
            (s.name, k + 1, frame, float(s.j[k, t]), float(s.f[k, t]))
            for s in scores
            for k in range(len(s.j))
            for t, frame in enumerate(s.frame_names)
        ),
    )
    per_sequence = {
        s.name: _figures(row)
        | {"objects": row.objects, "frames": len(s.frame_names)}
        | {"per_object": {k: _figures(summarize([s.of_object(k)])) for k in range(1, row.objects + 1)}}
        for s, row in by_sequence
    }
    everything = summarize(scores)
    summary = _figures(everything) | {"objects": everything.objects, "about": about, "per_sequence": per_sequence}
    with atomic_path(folder / SUMMARY) as temporary:
        temporary.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")


def discard_scores(folder: Path) -> None:
    """Removes the scores and the report of earlier masks, so that they cannot pass for those of new ones."""
    for name in (SUMMARY, PER_SEQUENCE, PER_FRAME, REPORT):
        discard(folder / name)


def _check_files(folder: Path, sequence: Sequence) -> None:
    if reason := lacks_annotations(sequence):
        raise DataError(f"{reason}; only sequences that are annotated throughout can be scored")
    scored = scored_frames(len(sequence.frames), sequence.name)
    masks = [_mask_path(folder, sequence, t) for t in scored]
    if missing := [path for path in masks if not path.is_file()]:
        count = f"{len(missing)} of {len(masks)} masks are missing"
        raise DataError(f"{missing[0]}: not there ({count}); {contents(missing[0].parent)}; expected SEQUENCE/FRAME.png")


def _score(folder: Path, single_object: bool, sequence: Sequence) -> SequenceScores:
    first = read_ids(sequence.masks[0])
    return score_frames(first, _read_frames(folder, sequence), single_object, sequence.name)


def _read_frames(folder: Path, sequence: Sequence) -> Iterator[tuple[str, np.ndarray, np.ndarray, str]]:
    height, width = read_image(sequence.frames[0]).shape[:2]
    for t in scored_frames(len(sequence.frames), sequence.name):
        path = _mask_path(folder, sequence, t)
        pred = read_ids(path)
        if pred.shape != (height, width):
            raise DataError(f"{path}: {pred.shape[1]}x{pred.shape[0]} pixels; its frame has {width}x{height}: write that size")
        yield path.stem, pred, fit_mask(read_ids(sequence.masks[t]), height, width, sequence.masks[t]), str(path)


def _mask_path(folder: Path, sequence: Sequence, t: int) -> Path:
    return folder / sequence.name / f"{sequence.frame_names[t]}.png"


def _pool(processes: int):
    """Processes that inherit neither the threads nor the devices of JAX, as forks of this one would; None for one."""
    if processes <= 1:
        return nullcontext()
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    context.set_forkserver_preload([__name__])  # imports once what all need
    return ProcessPoolExecutor(processes, mp_context=context)


def _figures(summary: Summary) -> dict[str, Any]:
    return {"J&F": summary.jf_mean, "J": vars(summary.j), "F": vars(summary.f)}


def _row(statistics: Statistics) -> tuple[float, float, float]:
    return statistics.mean, statistics.recall, statistics.decay


def _write_csv(path: Path, head: tuple[str, ...], rows: Iterator[tuple]) -> None:
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *rows])
