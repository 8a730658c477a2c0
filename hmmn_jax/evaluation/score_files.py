"""Scores of masks on disk: of every video that has a plan, as a table and as files.

JSON and CSV have all digits. Videos that cannot be scored are listed with the reason.
"""

import csv
import io
import json
import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from hmmn_jax.errors import DataError, HMMNError
from hmmn_jax.evaluation.plans import Plan
from hmmn_jax.io.files import write_file
from hmmn_jax.metrics.davis import SequenceScores, Statistics, Summary, summarize

SUMMARY, PER_SEQUENCE, PER_FRAME = "summary.json", "per_sequence.csv", "per_frame.csv"
REPORT = "report.html"
FRAMES_WORTH_A_PROCESS = 400  # a process takes about two seconds to start; in this time another one scores that many frames


def score_folder(folder: Path, plans: Sequence[Plan], processes: int = 1) -> tuple[list[SequenceScores], dict[str, str]]:
    """Scores the masks `folder/SEQUENCE/FRAME.png`; earlier scores are not reused.

    `processes` is the most to use; with more than one, the main script needs its `if __name__ == "__main__"`.

    Returns:
        The scores, and the errors of failed videos by name: a mask that is missing, cannot be read, has another size than the
        frames, or an id that the annotations do not have.

    Raises:
        HMMNError: a process died.
    """
    lengths = [len(plan.frames) for plan in plans]
    processes = min(processes, len(plans), 1 + sum(lengths) // FRAMES_WORTH_A_PROCESS)
    scores, failures = [], {}
    with _pool(processes) as pool, tqdm(total=sum(lengths), unit="frame", desc="scoring") as bar:
        try:
            for plan, found in zip(plans, (pool.map if pool else map)(partial(_score, folder), plans), strict=True):
                if isinstance(found, str):
                    failures[plan.clip.name] = found
                else:
                    scores.append(found)
                bar.update(len(plan.frames))
        except BrokenProcessPool as error:
            raise HMMNError(f"{folder}: a scoring process was killed, perhaps for lack of memory; score again") from error
    return scores, failures


def score_table(scores: Sequence[SequenceScores], unscored: Mapping[str, str] | None = None) -> str:
    """A table for the terminal, to three digits: every sequence, also those not scored, and the mean over all objects."""
    unscored = unscored or {}
    width = max(map(len, ["mean over objects", *unscored, *(s.name for s in scores)]))
    head = f"{'':{width}}  objects    J&F  |  J mean  recall   decay  |  F mean  recall   decay"
    rows = [(s.name, summarize([s])) for s in scores] + [("mean over objects", summarize(scores))]
    lines = [
        f"{name:{width}}  {row.objects:7}  {row.jf_mean:5.3f}  |  "
        + "  |  ".join(f"{s.mean:6.3f}  {s.recall:6.3f}  {s.decay:6.3f}" for s in (row.j, row.f))
        for name, row in rows
    ]
    missing = [f"{name:{width}}  not scored" for name in unscored]
    return "\n".join([head, *lines[:-1], *missing, "-" * len(head), lines[-1]])


def write_scores(
    folder: Path, scores: Sequence[SequenceScores], about: dict[str, Any], unscored: Mapping[str, str] | None = None
) -> None:
    """Writes all figures in full: `summary.json`, `per_sequence.csv` and `per_frame.csv`, each whole or not at all.

    `about` says what was scored, `unscored` why the others are not; both go into `summary.json`. Raises DataError if a
    file cannot be written.
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
            (s.name, i, frame, float(s.j[k, t]), float(s.f[k, t]))
            for s in scores
            for k, i in enumerate(s.ids)
            for t, frame in enumerate(s.frame_names)
            if not np.isnan(s.j[k, t])
        ),
    )
    per_sequence = {
        s.name: _figures(row)
        | {"objects": row.objects, "frames": len(s.frame_names)}
        | {"per_object": {i: _figures(summarize([s.of_object(i)])) for i in s.ids}}
        for s, row in by_sequence
    }
    everything = summarize(scores)
    summary = _figures(everything) | {"objects": everything.objects, "about": about, "per_sequence": per_sequence}
    summary["not_scored"] = dict(unscored or {})
    write_file(folder / SUMMARY, json.dumps(summary, indent=2) + "\n")


def _score(folder: Path, plan: Plan) -> SequenceScores | str:
    """Scores one video, or returns the reason in one line why it cannot be scored."""
    try:
        return plan.score_folder(folder)
    except DataError as error:
        return str(error)


def _pool(processes: int) -> AbstractContextManager[Executor | None]:
    """Processes that inherit neither the threads nor the devices of JAX, as forks of this one would; None for one."""
    if processes <= 1:
        return nullcontext()
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    context.set_forkserver_preload([__name__])  # imports shared modules once
    return ProcessPoolExecutor(processes, mp_context=context)


def _figures(summary: Summary) -> dict[str, Any]:
    return {"J&F": summary.jf_mean, "J": vars(summary.j), "F": vars(summary.f)}


def _row(statistics: Statistics) -> tuple[float, float, float]:
    return statistics.mean, statistics.recall, statistics.decay


def _write_csv(path: Path, head: tuple[str, ...], rows: Iterator[tuple]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([head, *rows])
    write_file(path, text.getvalue().encode(errors="backslashreplace"))
