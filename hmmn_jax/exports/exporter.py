"""`Exporter`, the interface of export formats. An exporter accepts a video's frames one by one and writes files to a folder."""

import abc
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Integer, UInt8

from hmmn_jax.io.palette import davis_palette

UNKNOWN_FPS = 10.0  # frame rate of movies made from a folder of images


@dataclass(frozen=True)
class Label:
    """The name and the colour that the user chose for an object.

    Attributes:
        name: the name; "" if the object has no name.
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
        """The name of an object; the default is "object ID"."""
        return self.labels.get(k, Label()).name or f"object {k}"

    @property
    def palette(self) -> UInt8[np.ndarray, "256 3"]:
        """The DAVIS palette, with the colours that the user chose for objects with ids up to 255."""
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
        name: name of the exported files for this frame, without suffix.
        file_name: file name of the image, or the name that the image would have in a folder of images.
        image: the pixels of the frame; None if the exporter does not need them.
        mask: the id of each pixel; None if the frame has no mask.
        probs: the probabilities of each object; None if they are unknown, or if the exporter does not need them.
    """

    index: int
    name: str
    file_name: str
    image: UInt8[np.ndarray, "h w 3"] | None = None
    mask: Integer[np.ndarray, "h w"] | None = None
    probs: Mapping[int, Float[np.ndarray, "h w"]] | None = None

    @property
    def ids(self) -> list[int]:
        """The ids of the objects that have pixels, in ascending order."""
        return [] if self.mask is None else [k for k in np.unique(self.mask).tolist() if k]


class Exporter(abc.ABC):
    """A context manager that writes one export. Files that need all frames are written on exit, unless an error occurred.

    Attributes:
        needs_image: whether the exporter needs the pixels of frames.
        needs_probs: whether the exporter uses probabilities.
        suffix: suffix of the output file, such as ".json" in `FOLDER/VIDEO.json`; "" if the output is a folder `FOLDER/VIDEO`.
        without_mask: a sentence that describes how frames without a mask are handled.
    """

    needs_image = needs_probs = False
    suffix = ""
    without_mask = "The export does not contain these frames."

    def __init__(self, folder: Path, facts: VideoFacts):
        """Creates an exporter that writes to `folder` and may replace existing files."""
        self.folder, self.facts = folder, facts
        self.frames = self.missing = 0

    def __enter__(self) -> "Exporter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        if kind is None:
            self.finish()

    def write(self, frame: MaskedFrame) -> None:
        """Adds the next frame, and counts frames and missing masks. Raises DataError if the frame cannot be written."""
        self.frames += 1
        self.missing += frame.mask is None
        self.add(frame)

    @abc.abstractmethod
    def add(self, frame: MaskedFrame) -> None:
        """Writes a frame, or stores the data that `finish` needs."""

    def finish(self) -> None:  # noqa: B027, because most kinds of exports need no final step
        """Writes the files that need all frames."""

    @property
    def remarks(self) -> list[str]:
        """Remarks on the export for the user, one line each."""
        if not self.missing:
            return []
        return [f"{self.missing} of {self.frames} frames have no mask. {self.without_mask}"]
