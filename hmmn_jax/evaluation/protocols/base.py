"""What a benchmark is: the seam for others than the ones that are here.

A `Protocol` says what it finds in a folder, what of it is given, which frames are run and which masks are written, how they lie
on disk, how they are scored, and what is submitted. Nothing outside of a protocol asks which one it is.
"""

import abc
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, TypeVar

import numpy as np
from jaxtyping import Integer
from ml_collections import ConfigDict

from hmmn_jax.errors import ConfigError, DataError
from hmmn_jax.evaluation.clips import Clip
from hmmn_jax.evaluation.mask_files import MaskFiles, OnePng
from hmmn_jax.evaluation.plans import Plan
from hmmn_jax.io.files import contents, shortlist
from hmmn_jax.io.notes import Notes

Opener = Callable[[], Clip]  # opens one video; raises DataError


@dataclass
class Task:
    """What there is to segment.

    Attributes:
        protocol: of which benchmark.
        clips: that can be opened.
        failures: by name what is wrong with the others.
        notes: what a user should know about the data.
        inputs: folders in which sequences and their masks are looked for.
    """

    protocol: "Protocol"
    clips: list[Clip] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    notes: Notes = field(default_factory=Notes)
    inputs: tuple[Path, ...] = ()

    def plan(self, clips: Iterable[Clip]) -> tuple[list[Plan], dict[str, str]]:
        """What is scored of some of the videos; by name of those that cannot be scored the reason."""
        plans, reasons = [], {}
        for clip in clips:
            try:
                plans.append(self.protocol.plan(clip, self.notes))
            except DataError as error:
                reasons[clip.name] = str(error)
        return plans, reasons


class Protocol(abc.ABC):
    """A benchmark, with the settings of an evaluation: a config of `configs/evaluate`, or the validation of a training.

    Attributes:
        name: by which configs call it; given by `register`.
        mask_files: how masks lie on disk, and whether objects may overlap.
        rule: how scores are made, where that is not the rule of a published benchmark; the report says it.
    """

    name: ClassVar[str]
    mask_files: ClassVar[MaskFiles] = OnePng()
    rule: ClassVar[str] = ""

    def __init__(self, settings: ConfigDict):
        self.settings = settings

    @abc.abstractmethod
    def find(self, root: Path, notes: Notes) -> dict[str, Opener]:
        """Finds videos, by name. Raises DataError, ConfigError where there is nothing to be found."""

    @abc.abstractmethod
    def inputs(self, root: Path) -> tuple[Path, ...]:
        """The folders in which `find` looks; results are not written there."""

    @abc.abstractmethod
    def plan(self, clip: Clip, notes: Notes) -> Plan:
        """What of a video is scored, and how. Raises DataError, which says why, where nothing can be."""

    @property
    def submission(self) -> str:
        """What masks are called in an archive for a server, such as "{sequence}/{frame}.png"; "": there is no server."""
        return self.settings.get("submission", "")

    def shown_truth(self, clip: Clip, index: int, height: int, width: int) -> Integer[np.ndarray, "h w"]:
        """The annotation of a frame as ids, as pictures show it."""
        return self.shown(clip.read_truth(index, height, width))

    def shown(self, ids: Integer[np.ndarray, "h w"]) -> Integer[np.ndarray, "h w"]:
        """Ids as pictures show them."""
        return ids

    def read(self, root: Path) -> Task:
        """Finds and opens the videos that the settings ask for. Raises DataError, ConfigError."""
        task = Task(self, inputs=self.inputs(root))
        openers = self.find(root, task.notes)
        for name, opens in _choose(openers, tuple(self.settings.sequences), root).items():
            try:
                clip = opens()
                if self.submission:
                    _require_text(clip)
                task.clips.append(clip)
            except (DataError, OSError) as error:
                task.failures[name] = str(error)
        return task


_REGISTERED: dict[str, type[Protocol]] = {}
Kind = TypeVar("Kind", bound=type[Protocol])


def register(name: str) -> Callable[[Kind], Kind]:
    """Decorates a protocol with its name."""

    def decorate(kind: Kind) -> Kind:
        kind.name = name
        _REGISTERED[name] = kind
        return kind

    return decorate


def registered() -> Mapping[str, type[Protocol]]:
    """The protocols by name."""
    return _REGISTERED


def make_protocol(settings: ConfigDict) -> Protocol:
    """The protocol that `settings.protocol` names. Raises ConfigError for an unknown one."""
    if settings.protocol not in _REGISTERED:
        known = ", ".join(_REGISTERED)
        raise ConfigError(f"config.protocol is {settings.protocol!r}, expected one of {known}")
    return _REGISTERED[settings.protocol](settings)


def _choose(openers: dict[str, Opener], names: tuple[str, ...], root: Path) -> dict[str, Opener]:
    if missing := [name for name in names if name not in openers]:
        raise DataError(f"{root}: no sequence {missing[0]!r}; it has {shortlist(list(openers)) or contents(root)}")
    return {name: opens for name, opens in openers.items() if name in names or not names}


def _require_text(clip: Clip) -> None:
    """Raises DataError for names that an archive cannot hold."""
    for name in (clip.name, *(clip.frame_names or ())):
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise DataError(f"{clip.name}/{name}: not a name in UTF-8, which an archive cannot hold; rename it") from error
