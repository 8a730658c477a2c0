"""Exports of a project: made in a thread of their own, kept in its folder."""

import threading
from pathlib import Path
from typing import Any

from hmmn_jax.paint.project import Project

KINDS: tuple[str, ...] = ()


class Exports:
    """The exports of one project. Names are made here; those that a page gives are only looked up."""

    def __init__(self, project: Project, folder: Path):
        """`folder` is made when it is needed."""
        self._project, self._folder = project, folder
        self._lock = threading.Lock()

    def listing(self) -> list[dict[str, Any]]:
        """What there is, the newest first."""
        return []

    def start(self, kind: str, start: int, stop: int) -> str:
        """Starts an export, and gives its name. Raises ValueError."""
        raise ValueError(f"unknown kind {kind!r}")

    def find(self, name: str) -> Path:
        """The file of a finished export. Raises KeyError."""
        raise KeyError(name)
