"""Formats the tables of the report as HTML. This module escapes special characters in names."""

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from hmmn_jax.metrics.davis import SequenceScores, Statistics
from hmmn_jax.metrics.figures import Figures


def statistics_table(rows: Mapping[str, Statistics], published: Mapping[str, float]) -> str:
    """Formats the mean, recall and decay of J and F, and the means that the paper reports, if available."""
    heads = ["mean", "recall", "decay", *(["paper"] if rows.keys() & published.keys() else [])]
    lines = []
    for name, row in rows.items():
        cells = [f"{value:.3f}" for value in (row.mean, row.recall, row.decay)]
        if len(heads) == 4:
            cells.append(f"{published[name]:.3f}" if name in published else "")
        lines.append(_row(name, cells, f' class="t{name.lower()}"'))
    return _table(heads, lines, "stats")


def figures_table(scores: Sequence[SequenceScores], figures: Figures) -> str:
    """Formats the metrics of a benchmark, with a row for each video and, if a video has several objects, for each object."""
    rows = []
    for s in scores:
        values = figures.part([s])
        rows.append((s.name, values, ""))
        if len(s.ids) > 1:
            rows += [(f"object {i}", figures.part([s.of_object(i)]), ' class="muted"') for i in s.ids]
    lines = [_row(name, [shown(value, figures.unit) for value in values.values()], css) for name, values, css in rows]
    return f'<div class="wide">{_table(list(rows[0][1]), lines, "stats own")}</div>'


def shown(value: float, unit: str) -> str:
    """Formats a number with three decimals, or a percentage with one decimal. NaN is shown as a dash."""
    return "-" if np.isnan(value) else f"{value:.{1 if unit == 'percent' else 3}f}"


def _row(name: str, cells: Sequence[str], css: str) -> str:
    return f'<tr><th scope="row"{css}>{escape(name)}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'


def _table(heads: Sequence[str], lines: Sequence[str], css: str) -> str:
    head = "".join(f'<th scope="col">{escape(head)}</th>' for head in heads)
    return f'<table class="{css}"><thead><tr><td></td>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table>'
