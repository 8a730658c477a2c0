"""Tests the HTML report: figures, order of videos, special characters in names, pictures and charts.

The report must not use external resources.
"""

import base64
import errno
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from configs.evaluate import davis2017_val
from hmmn_jax.datasets.folders import VideoFiles
from hmmn_jax.errors import DataError
from hmmn_jax.evaluation.clips import open_sequence
from hmmn_jax.evaluation.mask_files import OnePng
from hmmn_jax.evaluation.predict import Cost
from hmmn_jax.evaluation.protocols import make_protocol
from hmmn_jax.io.images import write_mask
from hmmn_jax.io.pictures import outline
from hmmn_jax.metrics.davis import SequenceScores
from hmmn_jax.report import page as module
from hmmn_jax.report.charts import gauge, percent, time_chart
from hmmn_jax.report.page import write_report
from hmmn_jax.report.thumbnails import make_thumbnails, spread_frames, telling_frames
from tests.evaluation.plans import scored

HEIGHT, WIDTH, FRAMES = 30, 44, 6
PROTOCOL = make_protocol(davis2017_val.get_config())
EVIL = """<script>alert("1")</script>&'"""
VOID_TAGS = {"meta", "img", "path", "br", "hr"}


class Page(HTMLParser):
    """Parses a report, checks that its tags are nested correctly, and collects tags, attributes and visible text."""

    def __init__(self, path: Path):
        super().__init__()
        self.stack, self.tags, self.text = [], [], []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID_TAGS:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if not {"style", "title"} & set(self.stack):
            self.text.append(data)

    def all(self, tag, css=""):
        return [found for name, found in self.tags if name == tag and css in (found.get("class") or "")]

    @property
    def words(self):
        return re.sub(r"\s+", " ", " ".join(self.text))


def box(y, x, value):
    ids = np.zeros((HEIGHT, WIDTH), np.uint8)
    ids[y : y + 10, x : x + 10] = value
    return ids


def made(root, names):
    """Writes videos of two boxes, and predictions. The first prediction is perfect. Later predictions have larger errors."""
    sequences = []
    for place, name in enumerate(names):
        folder = root / "data" / f"{place}"
        frames, masks = [], {}
        for t in range(FRAMES):
            truth = box(2 + t, 4, 1) + box(15, 25, 2)
            frames.append(folder / f"{t:05d}.png")
            masks[t] = folder / f"mask_{t:05d}.png"
            write_mask(masks[t], truth)
            Image.fromarray(np.full((HEIGHT, WIDTH, 3), 40 * t, np.uint8)).save(frames[-1])
            write_mask(
                root / "pred" / name / f"{t:05d}.png", box(2 + t, 4 + place * t, 1) + box(15, 25, 2) * (t < 3 or not place)
            )
        sequences.append(VideoFiles(name, tuple(frames), masks))
    return [open_sequence(sequence) for sequence in sequences]


@pytest.fixture
def world(tmp_path):
    sequences = made(tmp_path, ("good", "middling", "bad"))
    return tmp_path, sequences, scored(tmp_path / "pred", sequences)


def test_every_figure_is_on_the_page_and_the_worst_comes_first(world):
    root, sequences, scores = world
    paper = {"benchmark": "Boxes", "sequences": 3, "figures": {"J&F": 0.75, "J": 0.125}, "seconds_per_frame": 0.1}
    cost = Cost(15, 30.0, 4.25, 512.0)
    about = {"data": "ROOT", "checkpoint": None, "config": {"mem_every": 5, "deep": {"er": "x"}, "paper": paper}}
    write_report(root / "run", PROTOCOL, sequences, root / "pred", about, scores, cost=cost, paper=paper)
    page = Page(root / "run" / "report.html")
    jf = {s.name: (s.j.mean() + s.f.mean()) / 2 for s in scores}
    # The mean over videos is the mean over objects, because all videos have two objects and the same number of frames.
    mean = np.mean([*jf.values()])
    assert (
        jf["good"] == 1
        and f"mean over objects {mean:.3f} paper, J&F 0.750 this run differs by {mean - 0.75:+.3f}" in page.words
    )
    assert f"J {np.mean([s.j.mean() for s in scores]):.3f} {np.mean([(s.j > 0.5).mean() for s in scores]):.3f}" in page.words
    assert "0.125" in page.words and "not comparable" not in page.words
    ranked = ["bad", "middling", "good"]
    bars = [found["title"] for found in page.all("a")]
    assert bars == [
        f"{s.name}: J&F {jf[s.name]:.3f}, J {s.j.mean():.3f}, F {s.f.mean():.3f}"
        for s in sorted(scores, key=lambda s: ranked.index(s.name))
    ]
    assert [found["href"] for found in page.all("a")] == [f"#{found['id']}" for found in page.all("article")]
    for s in scores:
        for k in range(2):
            assert f"object {k + 1} J {s.j[k].mean():.3f} F {s.f[k].mean():.3f}" in page.words
    assert "seconds per frame 2.000" in page.words and "4.2 s" in page.words and "512 MB" in page.words
    assert "mem_every 5" in page.words and "deep.er x" in page.words and "ROOT" in page.words
    assert "benchmark" not in page.words and "None" not in page.words
    assert page.all("h1") and "Boxes" in page.words and "3 sequences" in page.words and "12 scored frames" in page.words


def test_a_part_of_a_benchmark_is_not_compared(world):
    root, sequences, scores = world
    write_report(root, PROTOCOL, sequences, root / "pred", {}, scores, paper={"sequences": 20, "figures": {"J&F": 0.9}})
    words = Page(root / "report.html").words
    assert "over 20 sequences, of which this run scored 3" in words and "this run differs" not in words


def test_nothing_comes_from_outside(world):
    root, sequences, scores = world
    write_report(root, PROTOCOL, sequences, root / "pred", {}, scores)
    page = Page(root / "report.html")
    assert not re.search(r"https?://|url\(|@import|<script|<link|<iframe", page.source)
    assert all(found["href"].startswith("#") for _, found in page.tags if "href" in found)
    pictures = [found["src"] for found in page.all("img")]
    assert pictures and all(picture.startswith("data:image/jpeg;base64,") for picture in pictures)
    assert all(found["alt"] for found in page.all("img"))
    assert len(page.all("svg")) == 6 == page.source.count("<svg") == page.source.count('role="img"><title>')
    with Image.open(io.BytesIO(base64.b64decode(pictures[0].split(",")[1]))) as image:
        assert image.size == (WIDTH, HEIGHT)


def test_malicious_names_stay_text(tmp_path):
    evil = EVIL.replace("/", "\u2215")  # folder names cannot contain a slash
    sequences = made(tmp_path, (evil, "$title"))
    scores = scored(tmp_path / "pred", sequences)
    about = {EVIL: EVIL, "config": {EVIL: [EVIL]}}
    paper = {"benchmark": EVIL, "figures": {EVIL: 0.5, f"J&F{EVIL}": 0.5}}
    write_report(tmp_path, PROTOCOL, sequences, tmp_path / "pred", about, scores, paper=paper)
    page = Page(tmp_path / "report.html")
    assert not page.all("script") and evil in page.words and "$title" in page.words
    assert all("<script" not in (value or "") or name in ("title", "alt", "aria-label")
               for _, found in page.tags for name, value in found.items())  # fmt: skip
    assert "\udcff" not in page.source
    # The path contains a byte that is not valid UTF-8.
    write_report(tmp_path, PROTOCOL, sequences, tmp_path / "pred", {"masks": "bytes \udcff"}, scores)
    assert "bytes ?" in Page(tmp_path / "report.html").words


def test_without_scores_it_shows_what_there_is(world):
    root, sequences, _ = world
    for t in (1, 2, 4):
        (root / "pred/bad" / f"{t:05d}.png").unlink()
    for path in (root / "pred/middling").iterdir():
        path.unlink()
    write_report(root, PROTOCOL, sequences, root / "pred", {}, cost=Cost(), paper={"figures": {"J seen": 0.821}})
    page = Page(root / "report.html")
    alts = [found["alt"] for found in page.all("img")]
    assert alts == [f"good, frame {t:05d}" for t in (0, 1, 2, 4, 5)] + [f"bad, frame {t:05d}" for t in (0, 3, 5)]
    assert "Results of the paper J seen 0.821" in page.words and "No masks were written" in page.words and not page.all("svg")


def test_many_sequences_have_few_pictures(world, monkeypatch):
    root, sequences, scores = world
    monkeypatch.setattr(module, "WORST", 1)
    monkeypatch.setattr(module, "BEST", 1)
    monkeypatch.setattr(module, "MAX_CHARTS", 1)
    write_report(root, PROTOCOL, sequences, root / "pred", {}, scores)
    page = Page(root / "report.html")
    assert {found["alt"].split(",")[0] for found in page.all("img")} == {"bad", "good"}
    assert (
        len(page.all("svg")) == len(page.all("article")) == 3
        and page.words.count("No chart is shown for 1 object with better scores.") == 3
    )
    for s in scores:
        k = int((s.j + s.f).mean(axis=1).argmin())
        assert f"object {k + 1} J {s.j[k].mean():.3f}" in page.words


def test_whole_or_not_at_all_and_never_an_old_one(world, monkeypatch):
    root, sequences, scores = world
    write_report(root / "run", PROTOCOL, sequences, root / "pred", {}, scores)
    before = (root / "run/report.html").read_bytes()

    def full(path, data):
        with open(path, "wb") as file:
            file.write(data[:1000])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DataError, match=r"report.html cannot be written: No space left"):
        write_report(root / "run", PROTOCOL, sequences, root / "pred", {}, scores)
    assert [path.name for path in (root / "run").iterdir()] == ["report.html"]
    assert (root / "run/report.html").read_bytes() == before


class TestFilm:
    def scores(self, quality):
        values = np.array([quality], float)
        return SequenceScores("x", tuple(f"{t + 1:05d}" for t in range(len(quality))), values, values)

    def test_frames_that_tell_most(self):
        assert telling_frames(self.scores([0.9, 0.95, 0.8, 0.4, 0.1, 0.2, 0.3, 0.2])) == {
            0: "given", 2: "best", 4: "first below 0.5", 5: "worst", 8: "also below 0.5"
        }  # fmt: skip
        assert telling_frames(self.scores([1.0, 1.0, 1.0])) == {0: "given", 1: "worst", 3: "next worst"}
        assert telling_frames(self.scores([0.7])) == {0: "given", 1: "worst"}

    def test_spread_over_the_masks_that_are_there(self, world):
        root, sequences, _ = world
        assert [*spread_frames(sequences[0], root / "pred", OnePng(), 3)] == [0, 2, 5]
        assert [*spread_frames(sequences[0], root / "pred", OnePng())] == [0, 1, 2, 4, 5]
        assert spread_frames(sequences[0], root / "nothing", OnePng()) == {}

    def test_masks_are_filled_and_annotations_outlined(self, world):
        root, sequences, _ = world
        (root / "pred/bad/00000.png").unlink()  # not needed, because the picture of frame 0 shows the annotation
        thumbnails = make_thumbnails(sequences[2], root / "pred", {0: "given", 4: "worst"}, PROTOCOL)
        assert [(t.frame_name, t.label) for t in thumbnails] == [("00000", "given"), ("00004", "worst")]
        picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(thumbnails[1].uri.split(",")[1])))).astype(int)
        assert (abs(picture[20, 29] - 160) < 4).all()  # annotated but not predicted, so the pixel shows the frame
        assert (picture[15, 25:35] > 235).all() and (picture[14, 25:35] < 20).all()
        red = picture[10, 17]  # inside the predicted box, which starts at x = 4 + 2 * 4
        assert red[0] > red[1] + 40 and red[0] > red[2] + 40

    def test_outline_literal(self):
        ids = np.zeros((4, 5), np.uint8)
        ids[1:, 1:4] = 1
        picture = outline(np.full((4, 5, 3), 9, np.uint8), ids)[..., 0]
        assert picture.tolist() == [[9, 0, 0, 0, 9], [0, 255, 255, 255, 0], [0, 255, 9, 255, 0], [0, 255, 9, 255, 0]]


class TestCharts:
    def test_a_line_goes_through_the_values(self):
        scores = SequenceScores("x", ("a", "b", "c"), np.array([[0.0, 0.25, 1.0]]), np.array([[1.0, 1.0, 0.5]]))
        chart = time_chart(scores, 1, {3: 7})
        assert (
            'class="j" d="M0.0 100.0L500.0 75.0L1000.0 0.0"' in chart
            and 'class="f" d="M0.0 0.0L500.0 0.0L1000.0 50.0"' in chart
        )
        assert '<b class="pin" style="left:100.0%">7</b>' in chart
        assert (
            "<title>x, object 1: J and F of 3 frames. The mean of J is 0.417. The mean of F is 0.833. "
            "The lowest values are at frame a: J is 0.000 and F is 1.000.<" in chart
        )

    def test_a_long_line_is_thinned_but_keeps_its_extremes(self):
        values = np.full((1, 5000), 0.5)
        values[0, 1234], values[0, 4321] = 0, 1
        chart = time_chart(SequenceScores("x", tuple(map(str, range(5000))), values, values), 1, {})
        line = re.search(r'class="j" d="([^"]*)"', chart)[1]
        assert line.count("L") <= 302 and "100.0L" in line and " 0.0L" in line
        assert line.startswith("M0.0 ") and line.endswith("L1000.0 50.0")

    def test_one_frame_is_a_level(self):
        scores = SequenceScores("x", ("a",), np.array([[0.5]]), np.array([[0.5]]))
        assert 'd="M0.0 50.0L1000.0 50.0"' in time_chart(scores, 1, {})

    def test_shares_stay_on_the_track(self):
        assert [percent(v) for v in (-1.0, 0.0, 0.1234, 2.0)] == ["0.0%", "0.0%", "12.3%", "100.0%"]
        assert 'style="left:90.8%" title="a&lt;b: 0.908"' in gauge(0.5, {"a<b": 0.908})
