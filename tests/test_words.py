"""Plain words: no phrase of `words.txt` in the documentation, in docstrings, comments or messages."""

import re
import tokenize
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "CONTRIBUTING.md", "docs/*.md", "data/*/README.md", "hmmn_jax/weights/*.md")
PROGRAMS = ("*.py", "benchmarks/**/*.py", "configs/**/*.py", "data/**/*.py", "docs/*.py", "hmmn_jax/**/*.py", "tools/**/*.py")
_TEXT = {tokenize.STRING, tokenize.COMMENT, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}  # f-strings from 3.12 on


def phrases():
    lines = (Path(__file__).parent / "words.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def text_of(path):
    """What people read in a file, one paragraph per line; of a program its comments and strings."""
    if path.suffix != ".py":
        return path.read_text(encoding="utf-8")
    with tokenize.open(path) as file:
        return "\n".join(token.string.lstrip("#") for token in tokenize.generate_tokens(file.readline) if token.type in _TEXT)


def found_in(text, banned):
    words = re.sub(r"[\s\"']*\n[\s#>|fr\"']*|\s+", " ", text)
    pattern = "|".join(rf"(?<!\w){re.escape(phrase)}(?!\w)" for phrase in banned)
    return [words[max(hit.start() - 40, 0) : hit.end() + 40] for hit in re.finditer(pattern, words, re.IGNORECASE)]


def test_no_banned_phrase():
    banned = phrases()
    files = [path for pattern in (*PAGES, *PROGRAMS) for path in sorted(ROOT.glob(pattern)) if "_build" not in path.parts]
    assert len(files) > 150
    hits = [f"{path.relative_to(ROOT)}: {hit}" for path in files for hit in found_in(text_of(path), banned)]
    assert not hits, "\n".join(hits)


def test_phrases_are_found_across_lines():
    assert found_in("one that\n    # is gone on with", ["is gone on with"])
    assert found_in("it is gone On with.", ["gone on with"])
    assert not found_in("the phone on with", ["one on with"])
