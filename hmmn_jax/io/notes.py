"""Remarks for the user about the data. Remarks are collected while files are read, and printed before a run starts."""

import sys
from dataclasses import dataclass, field

from hmmn_jax.errors import one_line


@dataclass
class Notes:
    """Remarks on files. Remarks on the same topic are combined into one line, with a count and an example of each kind."""

    topics: dict[str, dict[str, list[str]]] = field(default_factory=dict)

    def add(self, topic: str, kind: str, example: str) -> None:
        """Adds one item of a kind to a topic.

        For example, `topic` is "files skipped", `kind` is "hidden files", and `example` is "cat/.DS_Store".
        """
        self.topics.setdefault(topic, {}).setdefault(kind, []).append(example)

    def say(self, text: str) -> None:
        """Adds a separate line, unless the same line has already been added."""
        self.topics.setdefault(text, {})

    def lines(self) -> list[str]:
        """Returns one line per topic."""
        return [
            ": ".join([topic, *([", ".join(_count(*item) for item in kinds.items())] if kinds else [])])
            for topic, kinds in self.topics.items()
        ]


def _count(kind: str, examples: list[str]) -> str:
    if len(examples) > 1:
        return f"{len(examples)} {kind} (such as {examples[0]})"
    noun, _, rest = kind.partition(" ")
    return f"1 {' '.join(filter(None, [noun.removesuffix('s'), rest]))} ({examples[0]})"


def note(text: str) -> None:
    """Prints a note for the user."""
    print(f"NOTE: {one_line(text)}", file=sys.stderr)
