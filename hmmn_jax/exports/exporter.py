"""`Exporter`, the interface of export formats: takes a video's frames one by one and writes files into a folder."""

import abc
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Integer, UInt8

from hmmn_jax.io.palette import davis_palette

UNKNOWN_FPS = 10.0  # frame rate of movies of a folder of images


@dataclass(frozen=True)
class Label:
    """The user's name and colour of an object.

    Attributes:
        name: "" if it has no name.
        colour: RGB from 0 to 255; None: the colour in the DAVIS palette.
    """

    name: str = ""
    colour: tuple[int, int, int] | None = None


@dataclass(frozen=True)
class VideoFacts:
    """Properties of the whole video.

    Attributes:
        name: name of the video; files are named after it.
        size: height and width.
        fps: frames per second; 0 if unknown.
        labels: labels of the objects, by id.
    """

    name: str
    size: tuple[int, int]
    fps: float = 0.0
    labels: Mapping[int, Label] = field(default_factory=dict)

    def name_of(self, k: int) -> str:
        """The name of an object, by default "object ID"."""
        return self.labels.get(k, Label()).name or f"object {k}"

    @property
    def palette(self) -> UInt8[np.ndarray, "256 3"]:
        """The DAVIS palette with the colours of the objects with ids up to 255."""
        palette = davis_palette()
        for k, label in self.labels.items():
            if label.colour is not None and 0 < k < len(palette):
                palette[k] = label.colour
        return palette


@dataclass(frozen=True, eq=False)
class MaskedFrame:
    """A frame to export.

    Attributes:
        index: index in the video, from 0.
        name: name of its files, without suffix.
        file_name: file name of the image, or the name that it would have in a folder of images.
        image: its pixels; None if the exporter does not need them.
        mask: the id of each pixel; None if the frame has no mask.
        probs: the probability of each object; None if they are unknown, or the exporter does not need them.
    """

    index: int
    name: str
    file_name: str
    image: UInt8[np.ndarray, "h w 3"] | None = None
    mask: Integer[np.ndarray, "h w"] | None = None
    probs: Mapping[int, Float[np.ndarray, "h w"]] | None = None

    @property
    def ids(self) -> list[int]:
        """The objects that have pixels, ascending."""
        return [] if self.mask is None else [k for k in np.unique(self.mask).tolist() if k]


class Exporter(abc.ABC):
    """Writes one export. A context manager: files that need all frames are written on exit, unless an error occurred.

    Attributes:
        needs_image: whether the exporter needs the pixels of frames.
        needs_probs: whether the exporter uses probabilities.
        suffix: suffix of the single output file, `FOLDER/VIDEO + suffix`; "": a folder `FOLDER/VIDEO`.
        without_mask: how frames without a mask are handled, as a phrase.
    """

    needs_image = needs_probs = False
    suffix = ""
    without_mask = "left out"

    def __init__(self, folder: Path, facts: VideoFacts):
        """Writes to a folder; existing files may be replaced."""
        self.folder, self.facts = folder, facts
        self.frames = self.missing = 0

    def __enter__(self) -> "Exporter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        if kind is None:
            self.finish()

    def write(self, frame: MaskedFrame) -> None:
        """Takes the next frame. Raises DataError if it cannot be written."""
        self.frames += 1
        self.missing += frame.mask is None
        self.add(frame)

    @abc.abstractmethod
    def add(self, frame: MaskedFrame) -> None:
        """Writes a frame, or keeps the data needed at the end."""

    def finish(self) -> None:  # noqa: B027, for most kinds there is nothing to do
        """Writes the files that need all frames."""

    @property
    def remarks(self) -> list[str]:
        """Remarks on the export for the user, one line each."""
        if not self.missing:
            return []
        return [f"{self.missing} of {self.frames} frames have no mask: {self.without_mask}"]
