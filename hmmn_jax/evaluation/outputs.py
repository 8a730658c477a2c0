"""What a run writes for each clip, which appears when the clip is done and not before."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from hmmn_jax.evaluation.clips import Clip
from hmmn_jax.evaluation.pictures import MovieWriter, overlay, write_image
from hmmn_jax.evaluation.views import Segmented
from hmmn_jax.layouts import atomic_path, write_mask
from hmmn_jax.layouts.files import discard, writing_errors

MASKS, OVERLAYS, MOVIES, SCORES = "masks", "overlays", "movies", "scores"
PARTS = ".parts"  # where clips lie that are not done


@dataclass(frozen=True)
class Outputs:
    """What to write into `folder`: masks always, the rest on request.

    `masks/CLIP/FRAME.png` are of the requested frames, `overlays/CLIP/FRAME.png` of all, `movies/CLIP.mp4` (or gif) has all at
    `fps` frames a second. `scores/CLIP/FRAME.npz` are of the requested frames, compressed: `probs`, float16 `[K+1,H,W]` at
    the size of the video, and `ids`, uint8 `[K+1]`, whose probabilities these are, background (0) first.
    """

    folder: Path
    overlays: bool = False
    movie: str | None = None
    fps: float = 10.0
    save_scores: bool = False

    def places(self, clip: str) -> dict[str, Path]:
        """By kind the folders and files that a clip's results have, when they are whole; masks last."""
        kinds = {OVERLAYS: self.overlays, SCORES: self.save_scores, MASKS: True}
        movie = {MOVIES: self.folder / MOVIES / f"{clip}.{self.movie}"} if self.movie else {}
        return movie | {kind: self.folder / kind / clip for kind, wanted in kinds.items() if wanted}

    def places_of(self, clips: Sequence[Clip]) -> dict[str, Path]:
        """By kind where the results of several clips are: folders that have those of all; of a single clip its own."""
        places = self.places(clips[0].name)
        return places if len(clips) == 1 else {kind: place.parent for kind, place in places.items()}

    def are_there(self, clip: Clip) -> bool:
        """Whether an earlier run wrote all of this for the clip, from the files that it has now."""
        places = self.places(clip.name).values()
        masks = [self.folder / MASKS / clip.name / f"{name}.png" for name in clip.requested or ()]
        if not all(path.exists() for path in (*places, *masks)):
            return False
        made = min(path.stat().st_mtime_ns for path in places)
        return all(source.stat().st_mtime_ns <= made for source in clip.sources if source.exists())


class ClipWriter:
    """Writes one clip; a context manager, at whose end all of it appears, or nothing after an error."""

    def __init__(self, clip: Clip, outputs: Outputs):
        self.clip, self.outputs = clip, outputs
        self.parts = outputs.folder / PARTS / clip.name
        self.movie: MovieWriter | None = None

    def __enter__(self) -> "ClipWriter":
        _remove(self.parts)  # of a run that was killed
        if self.outputs.movie is not None:
            path = self.parts / f"{MOVIES}.{self.outputs.movie}"
            self.movie = MovieWriter(path, self.outputs.fps).__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: Any) -> None:
        try:
            if self.movie is not None:
                self.movie.__exit__(kind, *error)
            if kind is None:
                self._publish()
        finally:
            _remove(self.parts)
            if self.parts.parent.is_dir() and not any(self.parts.parent.iterdir()):
                self.parts.parent.rmdir()

    def first(self, frame: UInt8[np.ndarray, "h w 3"], given: UInt8[np.ndarray, "h w"]) -> None:
        """Writes the first frame, of which the ids are given."""
        ids = np.unique(np.append(given, np.uint8(0)))
        self._write(0, frame, given, ids, given == ids[:, None, None])

    def later(self, index: int, frame: UInt8[np.ndarray, "h w 3"], found: Segmented) -> None:
        """Writes another frame, for which the results are fetched here."""
        probs = found.probs if self.outputs.save_scores else None
        self._write(index, frame, found.mask, found.ids, probs)

    def _write(self, index: int, frame: np.ndarray, mask: np.ndarray, ids: np.ndarray, probs: np.ndarray | None) -> None:
        name = self.clip.frame_name(index)
        if self.clip.requested is None or name in self.clip.requested:
            write_mask(self.parts / MASKS / f"{name}.png", mask)
            if self.outputs.save_scores:
                with atomic_path(self.parts / SCORES / f"{name}.npz") as temporary:
                    np.savez_compressed(temporary, probs=probs.astype(np.float16), ids=ids)
        if self.outputs.overlays or self.movie is not None:
            picture = overlay(frame, mask)
            if self.outputs.overlays:
                write_image(self.parts / OVERLAYS / f"{name}.png", picture)
            if self.movie is not None:
                self.movie.write(picture)

    def _publish(self) -> None:
        for kind, place in self.outputs.places(self.clip.name).items():
            with writing_errors(place):
                place.parent.mkdir(parents=True, exist_ok=True)
                part = self.parts / kind
                if kind == MOVIES:
                    part = part.with_suffix(place.suffix)
                else:
                    part.mkdir(parents=True, exist_ok=True)  # nothing may have been requested
                _remove(place)
                os.replace(part, place)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        discard(path)
