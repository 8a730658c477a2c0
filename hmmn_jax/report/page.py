"""The report of an evaluation: a single HTML page that needs no server, network or scripts.

`page.html` in the folder of this module contains the layout and the style. External text, such as names, is escaped.
"""

import datetime
import importlib.resources
import os
import platform
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import flax
import jax
import numpy as np
from tqdm import tqdm

from hmmn_jax.errors import DataError
from hmmn_jax.evaluation.clips import Clip
from hmmn_jax.evaluation.predict import Cost
from hmmn_jax.evaluation.protocols import Protocol
from hmmn_jax.evaluation.score_files import REPORT
from hmmn_jax.io.files import write_file
from hmmn_jax.metrics.davis import SequenceScores, summarize
from hmmn_jax.metrics.figures import Figures
from hmmn_jax.metrics.mose2 import Mose2Scores
from hmmn_jax.report.charts import gauge, means, sequence_bars, time_chart
from hmmn_jax.report.tables import figures_table, shown, statistics_table
from hmmn_jax.report.thumbnails import Thumbnail, frame_quality, make_thumbnails, spread_frames, telling_frames
from hmmn_jax.version import __version__

WORST, BEST = 20, 3  # maximum numbers of worst and best sequences that have pictures
MAX_CHARTS = 12  # maximum number of objects with a chart per sequence; the worst objects are shown
MAX_ALL_CHARTS = 600  # maximum number of charts on the page
MOST_ROWS = 200  # maximum number of videos in the table of the benchmark's metrics


def write_report(
    folder: Path,
    protocol: Protocol,
    clips: Sequence[Clip],
    masks: Path,
    about: Mapping[str, Any],
    scores: Sequence[SequenceScores] = (),
    cost: Cost | None = None,
    paper: Mapping[str, Any] | None = None,
    missing: Mapping[str, str] | None = None,
) -> None:
    """Writes `folder/report.html` atomically.

    If a frame or mask cannot be read, an error message replaces the pictures of the video.

    Args:
        folder: the run folder.
        protocol: the benchmark, which defines how `scores` are computed and how masks are shown.
        clips: the segmented clips.
        masks: folder of the masks to show, with file names SEQUENCE/FRAME.png.
        about: properties of the run by name. The entry `config`, if any, is shown as separate settings.
        scores: one entry per scored clip, in any order. For clips without scores, the page shows only pictures.
        cost: the time and memory used for segmentation; None if this run segmented nothing.
        paper: the results of the paper on this benchmark; None or empty if the paper has no results. The entry `benchmark` is
            the name of the benchmark. The entry `sequences` is the number of sequences in the benchmark. The entry `figures`
            contains metrics such as J&F by name, in [0, 1]. The entry `seconds_per_frame` is optional.
        missing: maps the name of each video that failed or is not scored to the reason.

    Raises:
        DataError: the page cannot be written.
    """
    paper, missing = paper or {}, missing or {}
    scored = {s.name for s in scores}
    unscored = [clip for clip in clips if clip.name not in scored]
    if not scores:
        sections = []
        facts = [_count(len(clips), "sequence")]
    else:
        rows = sorted(((s, summarize([s])) for s in scores), key=lambda row: row[1].jf_mean)
        everything = summarize(scores)
        label = "J&F" if everything.has_f else "J"
        dots = f"Each dot is the {label} of one object. " if any(row.objects > 1 for _, row in rows) else ""
        bars = sequence_bars(rows, everything.jf_mean, _anchor)
        sections = [
            _section("Sequences from worst to best", bars, _legend(dots + "The line is the mean over all objects.", "")),
            *_own_figures([s for s, _ in rows], protocol),
            _details([s for s, _ in rows], {clip.name: clip for clip in clips}, masks, protocol),
        ]
        frames = sum(len(s.frame_names) for s in scores)
        facts = [_count(len(scores), "sequence"), _count(everything.objects, "object"), _count(frames, "scored frame")]
    if missing:
        sections.append(_section("Videos that failed or were not scored", _entries(missing)))
    if unscored:
        sections.append(_pictures(unscored, masks, protocol))
    title = paper.get("benchmark") or (clips[0].name if len(clips) == 1 else "Evaluation")
    page = Template(importlib.resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8")).substitute(
        title=escape(title),
        facts="".join(
            f"<span>{escape(fact)}</span>" for fact in [*facts, f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC"]
        ),
        headline=_headline(scores, paper, protocol) + _speed(cost, paper),
        body="".join(sections),
        settings=_settings(about),
        version=escape(__version__),
    )
    # File names may contain bytes that are not valid UTF-8.
    write_file(folder / REPORT, page.encode("utf-8", "replace"))


def _headline(scores: Sequence[SequenceScores], paper: Mapping[str, Any], protocol: Protocol) -> str:
    """Formats the metrics of the benchmark. For DAVIS, the metrics are J&F, the paper's J&F, and statistics of J and F."""
    rule, own = protocol.rule, protocol.figures
    if scores and own:
        entries = {name: shown(x, own.unit) for name, x in own.total(scores).items()}
        note = _in_unit(own) + (rule or "The scores follow the rules of the benchmark.")
        if published := dict(paper.get("figures") or {}):
            note += " Results of the paper: " + ", ".join(f"{name} {value:.3f}" for name, value in published.items()) + "."
        return _card("Metrics of the benchmark", _entries(entries), note)
    published = dict(paper.get("figures") or {})
    if not scores:
        figures = _entries({label: f"{value:.3f}" for label, value in published.items()})
        return _card("Results of the paper", figures, "The masks of this run were not scored.") if published else ""
    everything = summarize(scores)
    ours = {"J&F": everything.jf_mean, "J": everything.j.mean, "F": everything.f.mean}
    note = rule
    if published and (total := paper.get("sequences")) and len(scores) != total:
        note = (
            f"The paper's results are means over {total} sequences, of which this run scored {len(scores)}. "
            "The results are therefore not comparable."
        )
    marks = {label: mark for label, mark in published.items() if label.startswith("J&F")}
    listed = _paper_list(published, ours if not note else {})
    main = f'<p class="big">{everything.jf_mean:.3f}</p>{gauge(everything.jf_mean, marks)}{listed}'
    table = statistics_table({"J": everything.j, "F": everything.f}, published)
    meaning = (
        "J measures the overlap of the masks. F measures the accuracy of the mask borders. Recall is the fraction of frames "
        "with a value above 0.5. Decay is the mean over the first quarter of the frames minus the mean over the last quarter."
    )
    return _card("J&F, mean over objects", main, note) + _card("Region and border", table, meaning)


def _own_figures(scores: Sequence[SequenceScores], protocol: Protocol) -> list[str]:
    """Formats a section with the benchmark's own metrics by video and object, if the benchmark has any."""
    if (own := protocol.figures) is None:
        return []
    few = scores[:MOST_ROWS]
    rest = (
        f" The table shows the {len(few)} worst of {len(scores)} videos. The file per_sequence.csv contains all videos."
        if len(few) < len(scores)
        else ""
    )
    intro = f"<p>{_in_unit(own)}A dash means that no value is available.{rest}</p>"
    return [_section("Metrics of the benchmark by video", figures_table(few, own), intro)]


def _in_unit(figures: Figures) -> str:
    return "The values are in percent. " if figures.unit == "percent" else ""


def _paper_list(published: Mapping[str, float], ours: Mapping[str, float]) -> str:
    """Formats the results of the paper, with the difference from this run if the results are comparable."""
    items = []
    for label, value in published.items():
        difference = f' <span class="muted">this run differs by {ours[label] - value:+.3f}</span>' if label in ours else ""
        items.append(f"<li><i></i>paper, {escape(label)} <b>{value:.3f}</b>{difference}</li>")
    return f'<ul class="paper">{"".join(items)}</ul>' if items else ""


def _speed(cost: Cost | None, paper: Mapping[str, Any]) -> str:
    if cost is None or not cost.frames:  # an earlier run may have segmented all videos
        return ""
    devices = jax.local_devices()
    device = devices[0]
    entries = {
        "seconds per frame": f"{cost.seconds / cost.frames:.3f}",
        "frames per second": f"{cost.frames_per_second:.2f}",
        "frames": f"{cost.frames}",
        "compilation (not included)": f"{cost.compile_seconds:.1f} s",
        "peak memory": "unknown" if cost.peak_megabytes is None else f"{cost.peak_megabytes:.0f} MB",
        "device": f"{os.cpu_count()} CPU cores" if device.platform == "cpu" else f"{len(devices)} x {device.device_kind}",
    }
    if cost.peak_device_megabytes is not None:
        entries["peak memory of a device"] = f"{cost.peak_device_megabytes:.0f} MB"
    seconds = paper.get("seconds_per_frame")
    note = f"The paper reports {seconds:.2f} s per frame on an unspecified GPU." if seconds else ""
    return _card("Speed and memory", _entries(entries), note)


def _details(scores: Sequence[SequenceScores], clips: Mapping[str, Clip], masks: Path, protocol: Protocol) -> str:
    """Formats J and F over time for every sequence, worst first, and pictures for the worst and the best sequences."""
    cards, room = [], MAX_ALL_CHARTS
    pictured = {i for i in range(len(scores)) if i < WORST or i >= len(scores) - BEST}
    for i, s in enumerate(tqdm(scores, unit="sequence", desc="report")):
        row = summarize([s])
        chosen = telling_frames(s) if i in pictured else {}
        thumbnails, unreadable = _thumbnails(clips[s.name], masks, chosen, protocol)
        pins = {thumbnail.index: number for number, thumbnail in enumerate(thumbnails, 1) if thumbnail.index > 0}
        worst = sorted(s.ids, key=lambda k: summarize([s.of_object(k)]).jf_mean)[: min(MAX_CHARTS, room)]
        room -= len(worst)
        charts = "".join(time_chart(s, k, pins) for k in sorted(worst))
        left_out = row.objects - len(worst)
        note = _note(f"No chart is shown for {_count(left_out, 'object')} with better scores.") if left_out else ""
        note += _note(unreadable)
        heading = (
            f'<h3>{escape(s.name)}</h3><p class="figures">{f"<b>J&amp;F {row.jf_mean:.3f}</b> " if row.has_f else ""}'
            f'{means(row)} <span class="muted">{_count(row.objects, "object")}, '
            f"{_count(len(s.frame_names), 'frame')}</span></p>"
        )
        strip = _strip(s.name, thumbnails, s)
        cards.append(
            f'<article class="sequence" id="{_anchor(i)}"><header>{heading}</header>{strip}'
            f'<div class="charts{" one" if row.objects == 1 else ""}">{charts}</div>{note}</article>'
        )
    few = f"Pictures are shown for the {WORST} worst and the {BEST} best sequences. " if len(pictured) < len(scores) else ""
    explained = f"{few}Filled areas are the scored masks in the colours of their ids. White outlines are the annotations."
    if any(isinstance(s, Mose2Scores) for s in scores):
        explained += (
            " A grey background marks the frames whose annotation does not contain the object. "
            "A bar at the bottom marks the frames after the object returns."
        )
    return _section("J and F over time, and example frames", "".join(cards), _legend(explained, "dashed"))


def _pictures(clips: Sequence[Clip], masks: Path, protocol: Protocol) -> str:
    """Formats evenly spaced frames of each video, for videos without scores."""
    cards = []
    shown = clips[: WORST + BEST]
    for clip in tqdm(shown, unit="sequence", desc="report"):
        thumbnails, unreadable = _thumbnails(clip, masks, spread_frames(clip, masks, protocol.mask_files), protocol)
        body = _strip(clip.name, thumbnails) or _note(unreadable or "No masks were written.")
        cards.append(f'<article class="sequence"><header><h3>{escape(clip.name)}</h3></header>{body}</article>')
    outlines = "White outlines are annotations."
    few = f" Only the first {len(shown)} of {len(clips)} sequences are shown." if len(shown) < len(clips) else ""
    return _section(
        "Example frames", "".join(cards), f"<p>The masks have the colours of their ids and were not scored. {outlines}{few}</p>"
    )


def _thumbnails(clip: Clip, masks: Path, chosen: dict[int, str], protocol: Protocol) -> tuple[list[Thumbnail], str]:
    """Returns the pictures of a video and "", or an empty list and the reason why there are no pictures."""
    try:
        return make_thumbnails(clip, masks, chosen, protocol), ""
    except DataError as error:
        return [], f"The pictures cannot be shown: {error}"


def _strip(name: str, thumbnails: list[Thumbnail], scores: SequenceScores | None = None) -> str:
    figures = []
    for number, thumbnail in enumerate(thumbnails, 1):
        caption = f"<span><b>{number}</b> {escape(thumbnail.label)}</span>" if scores is not None else ""
        jf = ""
        if scores is not None and thumbnail.index > 0:
            quality = frame_quality(scores)[scores.indices.index(thumbnail.index)]
            jf = f"{'J' if np.isnan(scores.f).all() else 'J&F'} {quality:.3f}"
        text = escape(f"{name}, frame {thumbnail.frame_name} {thumbnail.label} {jf}".strip())
        figures.append(
            f'<figure><img src="{thumbnail.uri}" width="{thumbnail.width}" height="{thumbnail.height}" alt="{text}">'
            f"<figcaption>{caption}{f'<span>{escape(jf)}</span>' if jf else ''}"
            f'<span class="muted">frame {escape(thumbnail.frame_name)}</span></figcaption></figure>'
        )
    if not figures:
        return ""
    label = f"frames of {escape(name)}"
    return f'<div class="strip" role="group" tabindex="0" aria-label="{label}">{"".join(figures)}</div>'


def _settings(about: Mapping[str, Any]) -> str:
    config = {k: v for k, v in dict(about.get("config") or {}).items() if k != "paper"}
    done = {k: v for k, v in about.items() if k != "config" and v is not None}
    versions = {
        "hmmn_jax": __version__,
        "jax": jax.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }
    cards = {"Properties of the run": done, "Settings": flax.traverse_util.flatten_dict(config, sep="."), "Versions": versions}
    return "".join(_card(heading, _entries(entries)) for heading, entries in cards.items() if entries)


def _entries(entries: Mapping[str, Any]) -> str:
    rows = []
    for key, value in entries.items():
        text = str(value) if value not in ("", (), []) else "default"
        css = ' class="long"' if len(text) > 32 else ""
        rows.append(f"<div{css}><dt>{escape(str(key))}</dt><dd>{escape(text)}</dd></div>")
    return f"<dl>{''.join(rows)}</dl>"


def _section(heading: str, body: str, intro: str = "") -> str:
    return f"<section><h2>{escape(heading)}</h2>{intro}{body}</section>"


def _card(heading: str, body: str, note: str = "") -> str:
    return f'<div class="card"><h2>{escape(heading)}</h2>{body}{_note(note)}</div>'


def _note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>' if text else ""


def _legend(text: str, css: str) -> str:
    keys = '<span class="key j">J</span> <span class="key f">F</span>'
    return f'<p class="legend {css}">{keys} {escape(text)}</p>'


def _anchor(place: int) -> str:
    return f"sequence-{place + 1}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
