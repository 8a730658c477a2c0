"""Exports movies that show all frames with their masks, at the frame rate of the video."""

from pathlib import Path
from typing import Any

from hmmn_jax.exports.exporter import UNKNOWN_FPS, Exporter, MaskedFrame, VideoFacts
from hmmn_jax.io.movies import MovieWriter
from hmmn_jax.io.pictures import overlay


class Mp4(Exporter):
    """Writes `VIDEO.mp4` at the size of the video. An odd height or width is padded by one row or column."""

    suffix = ".mp4"
    needs_image = True
    without_mask = "The movie shows these frames without an overlay."

    def __init__(self, folder: Path, facts: VideoFacts):
        super().__init__(folder, facts)
        self._palette = facts.palette
        self._movie = MovieWriter(folder / f"{facts.name}{self.suffix}", facts.fps or UNKNOWN_FPS)

    def __enter__(self) -> "Mp4":
        self._movie.__enter__()
        return self

    def __exit__(self, *failure: Any) -> None:
        self._movie.__exit__(*failure)

    def add(self, frame: MaskedFrame) -> None:
        """Appends a frame."""
        assert frame.image is not None  # because needs_image is True
        self._movie.write(frame.image if frame.mask is None else overlay(frame.image, frame.mask, palette=self._palette))


class Gif(Mp4):
    """Writes `VIDEO.gif` with at most 480 pixels per side."""

    suffix = ".gif"
