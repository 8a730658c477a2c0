"""Charts of scores as HTML and inline SVG, without scripts. Names are escaped for HTML.

The browser stretches the lines to the width of the page. Text is HTML outside of the SVG, so the browser does not stretch text.
"""

from collections.abc import Callable, Sequence
from html import escape

import numpy as np
from jaxtyping import Float64

from hmmn_jax.io.palette import palette_index
from hmmn_jax.io.pictures import bright_palette
from hmmn_jax.metrics.davis import SequenceScores, Summary, summarize
from hmmn_jax.metrics.mose2 import Mose2Scores, disappearances, reappearances, runs

MAX_POINTS = 300  # maximum number of points in a line; longer lines are reduced to the minimum and the maximum of each section


def sequence_bars(rows: list[tuple[SequenceScores, Summary]], mean: float, link: Callable[[int], str]) -> str:
    """Draws bars for J and F of each sequence, in the given order. Dots mark J&F of objects. A vertical line marks the mean."""
    items = []
    for i, (scores, row) in enumerate(rows):
        name = escape(scores.name)
        label, dots = "J&amp;F" if row.has_f else "J", ""
        if row.objects > 1:
            each = [(k, summarize([scores.of_object(k)]).jf_mean) for k in scores.ids]
            dots = "".join(
                f'<i class="dot" style="left:{percent(jf)}" title="object {k}: {label} {jf:.3f}"></i>' for k, jf in each
            )
        title = f"J&amp;F {row.jf_mean:.3f}, J {row.j.mean:.3f}, F {row.f.mean:.3f}" if row.has_f else f"J {row.j.mean:.3f}"
        bar_f = f'<i class="bar f" style="width:{percent(row.f.mean)}"></i>' if row.has_f else ""
        items.append(
            f'<li><a href="#{link(i)}" title="{name}: {title}">'
            f'<span class="name">{name}</span><span class="track" aria-hidden="true">'
            f'<i class="bar j" style="width:{percent(row.j.mean)}"></i>'
            f'{bar_f}{dots}</span><b class="jf">{row.jf_mean:.3f}</b>'
            f'<span class="two">{means(row)}</span>'
            "</a></li>"
        )
    axis = '<div class="axis" aria-hidden="true"><span><i>0</i><i>0.25</i><i>0.5</i><i>0.75</i><i>1</i></span></div>'
    return f'<div class="bars" style="--mean:{percent(mean)}">{axis}<ol>{"".join(items)}</ol></div>'


def means(row: Summary) -> str:
    """Formats the mean of J and, if available, the mean of F."""
    f = f' <span class="tf">F {row.f.mean:.3f}</span>' if row.has_f else ""
    return f'<span class="tj">J {row.j.mean:.3f}</span>{f}'


def time_chart(scores: SequenceScores, object_id: int, pins: dict[int, int]) -> str:
    """Draws J and F of one object over its scored frames. `pins` maps frame indices to the numbers shown above these frames.

    If the benchmark scores disappearance and reappearance, the background is grey where the object is absent from the
    annotation. A bar at the bottom of the chart marks the frames after the object returns.
    """
    one = scores.of_object(object_id)
    pins = {one.indices.index(t): number for t, number in pins.items() if t in one.indices}
    row = summarize([one])
    lowest = int(np.argmin(one.j[0] + (one.f[0] if row.has_f else 0)))
    if row.has_f:
        said = (
            f"{scores.name}, object {object_id}: J and F of {len(one.frame_names)} frames. The mean of J is {row.j.mean:.3f}. "
            f"The mean of F is {row.f.mean:.3f}. The lowest values are at frame {one.frame_names[lowest]}: "
            f"J is {one.j[0, lowest]:.3f} and F is {one.f[0, lowest]:.3f}."
        )
    else:
        said = (
            f"{scores.name}, object {object_id}: J of {len(one.frame_names)} frames. The mean of J is {row.j.mean:.3f}. "
            f"The lowest value is at frame {one.frame_names[lowest]}: J is {one.j[0, lowest]:.3f}."
        )
    last = max(len(one.frame_names) - 1, 1)
    away = back = ""
    if isinstance(one, Mose2Scores) and one.empty.any():
        away = _spans(runs(one.empty[0]), last)
        back = _spans(reappearances(one.empty[0]), last, 94)
        said += f" The object is absent from the annotation of {int(one.empty.sum())} frame(s)."
        for what, spans in (("The object disappears at frame", disappearances), ("The object returns at frame", reappearances)):
            if starts := [one.frame_names[run.start] for run in spans(one.empty[0])]:
                said += f" {what} {', '.join(starts)}."
    marks = "".join(f"M{1000 * t / last:.1f} 0V100" for t in pins)
    j = _line(one.j[0])
    line_f = f'<path class="f" d="{_line(one.f[0])}"/>' if row.has_f else ""
    places = sorted({0, (len(one.frame_names) - 1) // 2, len(one.frame_names) - 1})
    labels = "".join(f"<i>{escape(one.frame_names[t])}</i>" for t in places)
    colour = "#" + bytes(bright_palette()[palette_index(np.asarray(object_id))].tolist()).hex()
    return (
        f'<figure class="chart"><figcaption><i class="swatch" style="background:{colour}"></i>object {object_id}'
        f'<span class="figures">{means(row)}</span>'
        '</figcaption><div class="plot"><div class="ys" aria-hidden="true"><i>1</i><i>0.5</i><i>0</i></div><div class="area">'
        f'<svg viewBox="0 0 1000 100" preserveAspectRatio="none" role="img"><title>{escape(said)}</title>'
        f'<path class="grid" d="M0 0H1000M0 25H1000M0 50H1000M0 75H1000M0 100H1000"/><path class="mark" d="{marks}"/>'
        f'<path class="away" d="{away}"/><path class="back" d="{back}"/>'
        f'<path class="fill" d="{j}V100H0Z"/>{line_f}<path class="j" d="{j}"/></svg>'
        + "".join(f'<b class="pin" style="left:{100 * t / last:.1f}%">{number}</b>' for t, number in pins.items())
        + f'</div></div><div class="xs" aria-hidden="true">{labels}</div></figure>'
    )


def gauge(value: float, marks: dict[str, float]) -> str:
    """Draws a bar from 0 to 1, filled up to `value`, with a tick at each mark."""
    ticks = "".join(
        f'<i class="tick" style="left:{percent(mark)}" title="{escape(label)}: {mark:.3f}"></i>'
        for label, mark in marks.items()
    )
    return f'<div class="gauge" aria-hidden="true"><i class="level" style="width:{percent(value)}"></i>{ticks}</div>'


def percent(value: float) -> str:
    """Formats a number in [0, 1] as a CSS percentage."""
    return f"{100 * min(max(value, 0.0), 1.0):.1f}%"


def _spans(spans: Sequence[slice], last: int, top: int = 0) -> str:
    """Returns the SVG path of a box for each run of frames. Each box extends half a frame beyond the run on both sides."""
    boxes = ((1000 * (run.start - 0.5) / last, 1000 * (run.stop - 0.5) / last) for run in spans)
    return "".join(f"M{max(a, 0):.1f} {top}H{min(b, 1000):.1f}V100H{max(a, 0):.1f}Z" for a, b in boxes)


def _line(values: Float64[np.ndarray, " t"]) -> str:
    """Returns the SVG path of a line in an area of 1000 by 100 units, in which y points down."""
    last = max(len(values) - 1, 1)
    if len(values) > MAX_POINTS:
        stretches = np.array_split(np.arange(len(values)), MAX_POINTS // 2)
        kept = {stretch[pick(values[stretch])] for stretch in stretches for pick in (np.argmin, np.argmax)}
        shown = sorted(kept | {0, last})
    else:
        shown = list(range(len(values)))
    points = [(1000 * t / last, 100 - 100 * values[t]) for t in shown]
    if len(points) == 1:
        points.append((1000.0, points[0][1]))
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
