"""Scores masks on disk with a scoring plan for each video, formats the scores as tables, and writes the scores to files.

The JSON and CSV files contain the scores with full precision. `summary.json` lists the videos that cannot be scored.
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
from hmmn_jax.metrics.davis import SequenceScores, Summary, summarize
from hmmn_jax.metrics.figures import Figures

SUMMARY, PER_SEQUENCE, PER_FRAME = "summary.json", "per_sequence.csv", "per_frame.csv"
REPORT = "report.html"
MORE_FIGURES = (
    ("dotF", "adaptive_f"),
)  # additional columns of the per-frame table, and the score attributes that contain their values
FRAMES_WORTH_A_PROCESS = 400  # a process scores about this many frames in two seconds, the time it takes to start a process


def score_folder(folder: Path, plans: Sequence[Plan], processes: int = 1) -> tuple[list[SequenceScores], dict[str, str]]:
    """Scores the masks `folder/SEQUENCE/FRAME.png`. Earlier scores are not reused.

    `processes` is the maximum number of processes. With several processes, the main script must be guarded by
    `if __name__ == "__main__"`.

    Returns:
        The scores, and the error of each failed video, by name. A video fails if a mask is missing, cannot be read, differs in
        size from the frames, or contains an id that the scoring rule rejects.

    Raises:
        HMMNError: a scoring process was killed.
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
            raise HMMNError(
                f"{folder}: a scoring process was killed, perhaps because there was not enough memory. Score the masks again."
            ) from error
    return scores, failures


def score_table(scores: Sequence[SequenceScores], unscored: Mapping[str, str] | None = None) -> str:
    """Formats a table with a row for each sequence, scored or not, and a row for the mean over all objects."""
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


def figures_table(scores: Sequence[SequenceScores], figures: Figures, unscored: Mapping[str, str] | None = None) -> str:
    """Formats a table with the metrics of a benchmark for every sequence, followed by the metrics over all videos."""
    unscored, rows = unscored or {}, [(s.name, len(s.ids), figures.part([s])) for s in scores]
    columns = list(rows[0][2])
    width = max(map(len, ["of all videos", *unscored, *(name for name, *_ in rows)]))
    widths = [max(len(column), 7) for column in columns]
    head = f"{'':{width}}  objects  " + "  ".join(f"{column:>{w}}" for column, w in zip(columns, widths, strict=True))
    digits = 1 if figures.unit == "percent" else 3

    def line(values: Mapping[str, float], widths: Sequence[int]) -> str:
        texts = ("-" if np.isnan(value) else f"{value:.{digits}f}" for value in values.values())
        return "  ".join(f"{text:>{w}}" for text, w in zip(texts, widths, strict=True))

    lines = [f"{name:{width}}  {objects:7}  {line(values, widths)}" for name, objects, values in rows]
    missing = [f"{name:{width}}  not scored" for name in unscored]
    total = figures.total(scores)
    names = "  ".join(f"{name:>{max(len(name), 7)}}" for name in total)
    objects = sum(len(s.ids) for s in scores)
    heading = f"metrics over all videos{f', in {figures.unit}' if figures.unit else ''}, {objects} objects:"
    return "\n".join([head, *lines, *missing, "-" * len(head), heading, names, line(total, [max(len(n), 7) for n in total])])


def write_scores(
    folder: Path,
    scores: Sequence[SequenceScores],
    about: dict[str, Any],
    unscored: Mapping[str, str] | None = None,
    figures: Figures | None = None,
) -> None:
    """Writes all scores with full precision to `summary.json`, `per_sequence.csv` and `per_frame.csv`.

    Each file is written atomically.

    Args:
        folder: the folder to write to.
        scores: scores of the videos.
        about: a description of the scored masks, for `summary.json`.
        unscored: the reason why a video has no scores, by video name, for `summary.json`.
        figures: the metrics of the benchmark. With None, the metrics of DAVIS are used.

    Raises:
        DataError: a file cannot be written.
    """
    part = figures.part if figures else lambda scores: _columns(summarize(scores))
    by_sequence = [(s, part([s])) for s in scores]
    _write_csv(
        folder / PER_SEQUENCE,
        ("sequence", "objects", "frames", *(by_sequence[0][1] if by_sequence else ())),
        ((s.name, len(s.ids), len(s.frame_names), *map(_cell, row.values())) for s, row in by_sequence),
    )
    values = {name: part for name, part in (("J", "j"), ("F", "f"), *MORE_FIGURES) if any(_has(s, part) for s in scores)}
    _write_csv(
        folder / PER_FRAME,
        ("sequence", "object", "frame", *values),
        (
            (s.name, i, frame, *(float(getattr(s, part)[k, t]) for part in values.values()))
            for s in scores
            for k, i in enumerate(s.ids)
            for t, frame in enumerate(s.frame_names)
            if not np.isnan(s.j[k, t])
        ),
    )

    def of(scores: Sequence[SequenceScores], total: bool = False) -> dict[str, Any]:
        if figures is None:
            return _figures(summarize(scores))
        return {name: None if np.isnan(x) else x for name, x in (figures.total if total else figures.part)(scores).items()}

    per_sequence = {
        s.name: of([s])
        | {"objects": len(s.ids), "frames": len(s.frame_names)}
        | {"per_object": {i: of([s.of_object(i)]) for i in s.ids}}
        for s in scores
    }
    objects = sum(len(s.ids) for s in scores)
    summary = of(scores, total=True) | {"objects": objects, "about": about, "per_sequence": per_sequence}
    summary["not_scored"] = dict(unscored or {})
    write_file(folder / SUMMARY, json.dumps(summary, indent=2) + "\n")


def _score(folder: Path, plan: Plan) -> SequenceScores | str:
    """Returns the scores of one video, or a one-line reason why the video cannot be scored."""
    try:
        return plan.score_folder(folder)
    except DataError as error:
        return str(error)


def _pool(processes: int) -> AbstractContextManager[Executor | None]:
    """Starts worker processes that, unlike forks, do not inherit JAX's threads and devices. Yields None if `processes` is 1."""
    if processes <= 1:
        return nullcontext()
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    context.set_forkserver_preload([__name__])  # the fork server imports this module once
    return ProcessPoolExecutor(processes, mp_context=context)


def _figures(summary: Summary) -> dict[str, Any]:
    return {"J&F": summary.jf_mean, "J": vars(summary.j), "F": vars(summary.f)}


def _columns(summary: Summary) -> dict[str, float]:
    return {name.removesuffix(" mean"): value for name, value in summary.figures.items()}


def _cell(value: float) -> float | str:
    return "" if np.isnan(value) else value


def _has(scores: SequenceScores, part: str) -> bool:
    values = getattr(scores, part, None)
    return values is not None and not np.isnan(values).all()


def _write_csv(path: Path, head: tuple[str, ...], rows: Iterator[tuple]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([head, *rows])
    write_file(path, text.getvalue().encode(errors="backslashreplace"))
