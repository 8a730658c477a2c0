"""Tests that the documentation and the programs contain no phrase of `words.txt`."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = ("*.md", "docs/*.md", "data/*/README.md", "hmmn_jax/weights/*.md", ".github/**/*.md")
PROGRAMS = (
    "*.py",
    "benchmarks/**/*.py",
    "configs/**/*.py",
    "data/**/*.py",
    "docs/*.py",
    "hmmn_jax/**/*.py",
    "tools/**/*.py",
)
PAGE = ("hmmn_jax/paint/static/*",)
_BREAK = re.compile(r"[ \"']*\n[ #>|fr\"']*")  # a line break in prose, with surrounding quotes and comment characters


def found_in(text, phrases):
    """Returns the text around each occurrence of a phrase. A phrase may continue on the next line."""
    line = re.sub(r"\s+", " ", _BREAK.sub(" ", text)).lower()
    likely = [re.escape(phrase) for phrase in phrases if phrase in line]
    hits = [hit for phrase in likely for hit in re.finditer(rf"(?<!\w){phrase}(?!\w)", line)]
    return [line[max(hit.start() - 40, 0) : hit.end() + 40] for hit in hits]


def test_no_banned_phrase():
    lines = (Path(__file__).parent / "words.txt").read_text(encoding="utf-8").splitlines()
    phrases = [line for line in lines if line and not line.startswith("#")]
    paths = [path for pattern in (*PAGES, *PROGRAMS, *PAGE) for path in sorted(ROOT.glob(pattern))]
    assert len(paths) > 150
    hits = [f"{path.relative_to(ROOT)}: {hit}" for path in paths for hit in found_in(path.read_text(encoding="utf-8"), phrases)]
    assert not hits, "\n".join(hits)


def test_phrases_are_found_across_lines():
    phrases = ["is gone on with"]
    assert found_in("one that\n    # is gone\n    # On with.", phrases)
    assert found_in('f"a run that is "\n    f"gone on with"', phrases)
    assert not found_in("is gone on without", phrases)
