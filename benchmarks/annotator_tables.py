"""Creates Markdown tables from the results of `benchmarks/annotator.py`."""

from collections.abc import Sequence
from typing import Any

import numpy as np

FALL = 0.01  # a sequence is listed if its J&F decreases by more than this from one round to the next
LOST = 0.5  # an object with a lower J is considered lost


def jf(played: dict[str, Any]) -> np.ndarray:
    """Returns the J&F of each frame in a round, [T]."""
    return (np.array(played["j"]) + np.array(played["f"])).mean(axis=1) / 2


def never_annotated(row: dict[str, Any]) -> np.ndarray:
    """Returns a boolean array [T], which is true for the frames that are never annotated."""
    free = np.ones(len(row["rounds"][0]["j"]), bool)
    free[row["rounds"][-1]["annotated"]] = False
    return free


def curves(row: dict[str, Any]) -> dict[str, tuple[list[float], list[float]]]:
    """Returns the mean J&F of each round, over all frames and over never-annotated frames, for a policy and its baselines."""
    free = never_annotated(row)
    ways = {row["policy"]: row["rounds"]}
    if "forward" in row:
        ways |= {"first": row["rounds"][:1] * len(row["rounds"]), "forward": row["forward"]}
    return {way: ([jf(one).mean() for one in rounds], [jf(one)[free].mean() for one in rounds]) for way, rounds in ways.items()}


def falls(row: dict[str, Any]) -> list[tuple[int, int]]:
    """Returns the rounds in which the J&F of never-annotated frames decreases by more than `FALL`.

    Each round is returned with the frame whose J&F decreases most.
    """
    free, found = never_annotated(row), []
    for r in range(1, len(row["rounds"])):
        change = np.where(free, jf(row["rounds"][r]) - jf(row["rounds"][r - 1]), 0)
        if change[free].mean() < -FALL:
            found.append((r, int(change.argmin())))
    return found


def spearman(x: Sequence[float], y: Sequence[float]) -> float:
    """Returns Spearman's rank correlation. Equal values get the mean of their ranks."""
    ranks = []
    for values in (np.asarray(x), np.asarray(y)):
        _, index, count = np.unique(values, return_inverse=True, return_counts=True)
        ranks.append((np.cumsum(count) - (count - 1) / 2)[index])
    return float(np.corrcoef(*ranks)[0, 1])


def confidence_pairs(row: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the confidence and J of the objects in predicted frames of all rounds. Objects without pixels are excluded."""
    confidence, j = [], []
    for played in row["rounds"]:
        predicted = np.setdiff1d(np.arange(len(played["j"])), played["annotated"])
        confidence.append(np.array(played["confidence"], float)[predicted].ravel())
        j.append(np.array(played["j"])[predicted].ravel())
    c, j = np.concatenate(confidence), np.concatenate(j)
    return c[~np.isnan(c)], j[~np.isnan(c)]


def tables(rows: Sequence[dict[str, Any]]) -> str:
    """Returns all tables as Markdown."""
    found = [_by_way(rows, 0, "all frames"), _by_way(rows, 1, "frames without an annotation")]
    found += [_by_sequence(rows), _confidence(rows)]
    named = [(row, r, t) for row in rows for r, t in falls(row) if row["policy"] != "random"]
    found += [f"{row['sequence']}, {row['policy']}: J&F falls in round {r}, and falls most in frame {t}" for row, r, t in named]
    return "\n\n".join(found)


def _by_way(rows: Sequence[dict[str, Any]], which: int, title: str) -> str:
    """Returns a table with the J&F of each policy and round, averaged over sequences.

    If a policy was run with several seeds, the table also contains the range of J&F over the seeds.
    """
    ways: dict[str, dict[int, list[list[float]]]] = {}
    for row in rows:
        for way, both in curves(row).items():
            ways.setdefault(way, {}).setdefault(row["seed"], []).append(both[which])
    lines = []
    for way, seeds in ways.items():
        means = np.array([np.mean(of_seed, axis=0) for of_seed in seeds.values()])
        cells = [f"{m:.3f}" for m in means.mean(axis=0)]
        if len(means) > 1:
            cells = [f"{c} ({low:.3f} to {high:.3f})" for c, low, high in zip(cells, means.min(0), means.max(0), strict=True)]
        lines.append(f"| {way} | {' | '.join(cells)} |")
    rounds = max((len(row["rounds"]) for row in rows), default=0)
    return _table(f"J&F of {title}", [f"round {r}" for r in range(rounds)], lines)


def _by_sequence(rows: Sequence[dict[str, Any]]) -> str:
    rows = [row for row in rows if row["policy"] != "random"]
    lines = []
    for row in rows:
        _, never = curves(row)[row["policy"]]
        added = row["rounds"][-1]["annotated"]
        lines.append(f"| {row['sequence']}, {row['policy']} | {' | '.join(f'{m:.3f}' for m in never)} | {added} |")
    rounds = max((len(row["rounds"]) for row in rows), default=0)
    heads = [*(f"round {r}" for r in range(rounds)), "annotated frames"]
    return _table("J&F of frames without an annotation, by sequence", heads, lines)


def _confidence(rows: Sequence[dict[str, Any]]) -> str:
    """Returns a table with the rank correlation between confidence and J over all predicted frames.

    The table uses the first policy of each sequence.
    """
    first = {row["sequence"]: row for row in reversed(rows)}.values()
    pairs = {row["sequence"]: confidence_pairs(row) for row in first}
    if len(pairs) > 1:
        pairs["all"] = tuple(np.concatenate(each) for each in zip(*pairs.values(), strict=True))
    lines = []
    for name, (c, j) in pairs.items():
        if not len(c):
            continue
        doubtful = j[np.argsort(c, kind="stable")[: max(len(c) // 10, 1)]]
        lost = f"{(doubtful < LOST).mean():.2f} | {(j < LOST).mean():.2f}"
        lines.append(f"| {name} | {len(c)} | {spearman(c, j):.2f} | {lost} |")
    heads = ["pairs of confidence and J", "Spearman's rho"]
    heads += [f"fraction with J < {LOST}, least confident tenth", f"fraction with J < {LOST}, all objects"]
    return _table("Confidence", heads, lines)


def _table(title: str, heads: Sequence[str], lines: Sequence[str]) -> str:
    return "\n".join([f"| {title} | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|", *lines])
