"""Defines `Protocol`, the interface of all benchmarks.

A `Protocol` finds the videos in a folder, and defines which masks are given and which frames are segmented. A `Protocol` also
defines how masks are written, scored and submitted to a server. Other modules access benchmarks only through `Protocol`.
"""

import abc
from collections.abc import Callable, Iterable, Mapping, Sequence
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
from hmmn_jax.evaluation.submission import SUBMISSION, write_zip
from hmmn_jax.io.files import contents, shortlist
from hmmn_jax.io.notes import Notes
from hmmn_jax.metrics.figures import Figures

Opener = Callable[[], Clip]  # a function that opens one video, or raises DataError


@dataclass
class Task:
    """The videos to segment.

    Attributes:
        protocol: the benchmark.
        clips: the videos that can be opened.
        failures: the reason why a video cannot be opened, by video name.
        notes: remarks for the user about the data.
        inputs: the folders that are searched for sequences and masks.
    """

    protocol: "Protocol"
    clips: list[Clip] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    notes: Notes = field(default_factory=Notes)
    inputs: tuple[Path, ...] = ()

    def plan(self, clips: Iterable[Clip]) -> tuple[list[Plan], dict[str, str]]:
        """Creates the scoring plans of videos.

        Returns a plan for each video that can be scored, and the reason why each of the other videos cannot be scored.
        """
        plans, reasons = [], {}
        for clip in clips:
            try:
                plans.append(self.protocol.plan(clip, self.notes))
            except DataError as error:
                reasons[clip.name] = str(error)
        return plans, reasons


class Protocol(abc.ABC):
    """A benchmark with the settings of an evaluation, or of the validation during training.

    Attributes:
        name: name in configs; set by `register`.
        mask_files: the layout of the mask files, and whether objects may overlap.
        rule: a note for the report about how scores are computed; "" if the rules of the published benchmark apply.
        figures: the metrics of the benchmark; None: the metrics of DAVIS.
        archive: the name of the file to submit to a server.
    """

    name: ClassVar[str]
    mask_files: ClassVar[MaskFiles] = OnePng()
    rule: ClassVar[str] = ""
    figures: ClassVar[Figures | None] = None
    archive: ClassVar[str] = SUBMISSION

    def __init__(self, settings: ConfigDict):
        self.settings = settings

    @abc.abstractmethod
    def find(self, root: Path, notes: Notes) -> dict[str, Opener]:
        """Finds the videos.

        Args:
            root: the folder given by the user.
            notes: collects remarks for the user.

        Returns:
            A dict that maps the name of each video to a function that opens the video.

        Raises:
            DataError: no video was found.
            ConfigError: a setting does not match the folder.
        """

    @abc.abstractmethod
    def inputs(self, root: Path) -> tuple[Path, ...]:
        """Returns the folders that `find` searches. Results are never written to these folders."""

    @abc.abstractmethod
    def plan(self, clip: Clip, notes: Notes) -> Plan:
        """Returns the scoring plan of a video. Raises DataError with the reason if the video cannot be scored."""

    @property
    def submission(self) -> str:
        """The pattern of mask names in the submission archive, such as "{sequence}/{frame}.png"; "" for no archive."""
        return self.settings.get("submission", "")

    @property
    def submits(self) -> bool:
        """Whether the results are packed into a file for a server instead of being scored."""
        return bool(self.submission)

    def write_submission(self, path: Path, masks: Path, clips: Sequence[Clip]) -> str:
        """Writes the file for the server. `masks` is the folder of all masks.

        Returns a description of the file's contents, such as "12 masks". Raises DataError if a mask is missing.
        """
        return f"{len(write_zip(path, masks, clips, self.submission, self.mask_files))} masks"

    def refuse_submission(self, clips: Sequence[Clip]) -> str:
        """Returns the reason why the server would reject an archive of the videos; "" if the archive is accepted."""
        return ""

    def shown_truth(self, clip: Clip, index: int, height: int, width: int) -> Integer[np.ndarray, "h w"]:
        """Returns the annotation of a frame as an array of object ids, for display in pictures."""
        return self.shown(clip.read_truth(index, height, width))

    def shown(self, ids: Integer[np.ndarray, "h w"]) -> Integer[np.ndarray, "h w"]:
        """Returns the ids to show in pictures."""
        return ids

    def read(self, root: Path) -> Task:
        """Finds and opens the videos that the settings select.

        Raises DataError if no video is found or a selected video is missing, and ConfigError if a setting does not match the
        folder.
        """
        task = Task(self, inputs=self.inputs(root))
        openers = self.find(root, task.notes)
        for name, opens in _choose(openers, tuple(self.settings.sequences), root).items():
            try:
                clip = opens()
                if self.submits:
                    _require_text(clip)
                task.clips.append(clip)
            except (DataError, OSError) as error:
                task.failures[name] = str(error)
        return task


_REGISTERED: dict[str, type[Protocol]] = {}
Kind = TypeVar("Kind", bound=type[Protocol])


def register(name: str) -> Callable[[Kind], Kind]:
    """Returns a class decorator that registers a protocol under a name."""

    def decorate(kind: Kind) -> Kind:
        kind.name = name
        _REGISTERED[name] = kind
        return kind

    return decorate


def registered() -> Mapping[str, type[Protocol]]:
    """Returns the registered protocols by name."""
    return _REGISTERED


def make_protocol(settings: ConfigDict) -> Protocol:
    """Creates the protocol named `settings.protocol`. Raises ConfigError for an unknown name."""
    if settings.protocol not in _REGISTERED:
        known = ", ".join(_REGISTERED)
        raise ConfigError(f"config.protocol is {settings.protocol!r}, expected one of {known}")
    return _REGISTERED[settings.protocol](settings)


def _choose(openers: dict[str, Opener], names: tuple[str, ...], root: Path) -> dict[str, Opener]:
    if missing := [name for name in names if name not in openers]:
        raise DataError(f"{root}: expected a sequence {missing[0]!r}, found {shortlist(list(openers)) or contents(root)}")
    return {name: opens for name, opens in openers.items() if name in names or not names}


def _require_text(clip: Clip) -> None:
    """Raises DataError for names that an archive cannot contain."""
    for name in (clip.name, *(clip.frame_names or ())):
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise DataError(
                f"{clip.name}/{name}: the name is not valid UTF-8, but archives require UTF-8 names. Rename the file or folder."
            ) from error
