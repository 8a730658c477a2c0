"""Writes the output files of a run. The files of a clip are moved to the output folder when the clip is complete."""

import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from hmmn_jax.errors import ConfigError, DataError
from hmmn_jax.evaluation.clips import Clip
from hmmn_jax.evaluation.mask_files import MaskFiles, OnePng, flatten
from hmmn_jax.evaluation.run_folder import RunFolder
from hmmn_jax.exports import KINDS, UNKNOWN_FPS, Exporter, VideoFacts, masked_frame
from hmmn_jax.inference.augmentation import Given, Segmented
from hmmn_jax.io.buckets import AnyPath, is_bucket
from hmmn_jax.io.files import atomic_path, writing_errors
from hmmn_jax.io.movies import MovieWriter
from hmmn_jax.io.pictures import overlay, write_image
from hmmn_jax.io.record import Record, require_free, sha256

MASKS, OVERLAYS, MOVIES, PROBABILITIES, EXPORTS = "masks", "overlays", "movies", "probabilities", "exports"


@dataclass(frozen=True)
class Outputs:
    """Selects the outputs to write to `folder`. Masks are always written; other outputs are optional.

    The files `masks/CLIP/FRAME.png` are written for the requested frames, and `overlays/CLIP/FRAME.png` for all frames.
    `movies/CLIP.mp4` (or `.gif`) contains all frames at `fps` frames per second. If `fps` is 0, the movie has the frame rate of
    the video, or 10 frames per second for a folder. The files `probabilities/CLIP/FRAME.npz` are written for the requested
    frames. Each file contains the arrays `probs` and `ids`. The array `probs` is float16 `[K+1,H,W]` at the size of the video.
    The array `ids` has the shape `[K+1]` and contains the id of each channel, starting with the background (0). For each kind
    in `exports`, `hmmn_jax.exports` writes all frames to `exports/KIND`.
    """

    folder: AnyPath
    overlays: bool = False
    movie: str | None = None
    fps: float = 0.0
    save_probabilities: bool = False
    exports: tuple[str, ...] = ()
    mask_files: MaskFiles = OnePng()  # noqa: RUF009, because the object has no state
    run: RunFolder = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "run", RunFolder(self.folder))

    def names(self, clip: Clip) -> list[str]:
        """Returns the output files of a clip, relative to `folder`.

        For a video file, the number of frames is read from its header.
        """
        frames = [clip.frame_name(t) for t in range(len(clip))]
        requested = [frames[t] for t in clip.requested_frames]
        names = []
        for t in clip.requested_frames:
            files = self.mask_files.of_frame(clip.name, frames[t], clip.ids_at(t))
            names += [f"{MASKS}/{file.name}" for file in files]
        names += [f"{OVERLAYS}/{clip.name}/{name}.png" for name in frames if self.overlays]
        names += [f"{PROBABILITIES}/{clip.name}/{name}.npz" for name in requested if self.save_probabilities]
        names += [f"{EXPORTS}/{kind}/{clip.name}{KINDS[kind].suffix}" for kind in self.exports if KINDS[kind].suffix]
        return names + ([f"{MOVIES}/{clip.name}.{self.movie}"] if self.movie else [])

    def places_of(self, clips: Sequence[Clip]) -> dict[str, AnyPath]:
        """Returns the output folders by kind. If there is only one clip, returns the output paths of this clip instead."""
        kinds = {OVERLAYS: self.overlays, PROBABILITIES: self.save_probabilities, MASKS: True}
        folders = [self.folder / kind for kind, wanted in kinds.items() if wanted]
        places = {folder.name: folder / clips[0].name if len(clips) == 1 else folder for folder in folders}
        if self.movie:
            movie = self.folder / MOVIES / f"{clips[0].name}.{self.movie}"
            places = {MOVIES: movie if len(clips) == 1 else movie.parent} | places
        for kind in self.exports:
            folder = self.folder / EXPORTS / kind
            places[kind] = folder / f"{clips[0].name}{KINDS[kind].suffix}" if len(clips) == 1 else folder
        return places

    def made_from(self, clip: Clip) -> dict[str, Any]:
        """Returns the dependencies of a clip's outputs: settings and weights of the run, input files, and requested outputs."""
        digest = hashlib.sha256()
        for source in clip.sources:
            digest.update(f"{source.name}\0{sha256(source)}\0".encode(errors="surrogateescape"))
        kinds = {MASKS: True, OVERLAYS: self.overlays, PROBABILITIES: self.save_probabilities}
        movie = {f"{MOVIES}.{self.movie}": f"{self.fps_of(clip)} frames per second"} if self.movie else {}
        wanted = {kind: "" for kind, is_wanted in kinds.items() if is_wanted}
        exports = {f"{EXPORTS}.{kind}": f"{self.fps_of(clip)} frames per second" for kind in self.exports}
        return {"run": self.run.digest, "inputs": digest.hexdigest(), "kinds": wanted | movie | exports}

    def are_there(self, clip: Clip, made_from: dict[str, Any]) -> bool:
        """Returns whether all files exist unchanged, and were written from the same inputs by an earlier run."""
        record = self.run.clip(clip.name)
        kinds = _kinds(record)
        return made_from["kinds"].items() <= kinds.items() and record.is_whole(made_from | {"kinds": kinds})

    def fps_of(self, clip: Clip) -> float:
        """Returns the frame rate of movies, in frames per second."""
        return self.fps or clip.fps or UNKNOWN_FPS


class ClipWriter:
    """A context manager that writes the outputs of one clip.

    On exit, moves the files to the output folder. After an error, deletes the files.

    Raises DataError on entry if one of the output files exists and was not written by this program.
    """

    def __init__(self, clip: Clip, outputs: Outputs, made_from: dict[str, Any]):
        self.clip, self.outputs, self.made_from = clip, outputs, made_from
        self.movie: MovieWriter | None = None
        self.exporters: list[Exporter] = []

    def __enter__(self) -> "ClipWriter":
        outputs = self.outputs
        require_free(self._record, outputs.names(self.clip))
        with contextlib.ExitStack() as stack:  # on exit: finish the movie, publish the files, delete temporary files
            self.staged = stack.enter_context(outputs.run.staging())
            stack.push(self._publish_unless_failed)
            with writing_errors(self.staged):
                (self.staged / MASKS / self.clip.name).mkdir(parents=True)  # this folder may stay empty
            if outputs.movie is not None:
                path = self.staged / MOVIES / f"{self.clip.name}.{outputs.movie}"
                self.movie = stack.enter_context(MovieWriter(path, outputs.fps_of(self.clip)))
            facts = VideoFacts(self.clip.name, self.clip.size, outputs.fps_of(self.clip))
            for kind in outputs.exports:
                self.exporters.append(stack.enter_context(KINDS[kind](self.staged / EXPORTS / kind, facts)))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *failure: Any) -> None:
        self._stack.__exit__(*failure)

    def _publish_unless_failed(self, kind: type[BaseException] | None, *_: Any) -> None:
        if kind is not None:
            return
        self.outputs.run.require_present()
        record = self._record
        kinds = _kinds(record)
        keep = record.is_whole(self.made_from | {"kinds": kinds})  # keep other outputs made from the same inputs
        record.publish(self.staged, self.made_from | {"kinds": (kinds if keep else {}) | self.made_from["kinds"]}, keep)

    @property
    def _record(self) -> Record:
        return self.outputs.run.clip(self.clip.name)

    @property
    def remarks(self) -> list[str]:
        """Remarks for the user about the exports. Read this property after the exports are written."""
        pairs = zip(self.outputs.exports, self.exporters, strict=True)
        return [f"{self.clip.name}, export {kind}: {remark}" for kind, exporter in pairs for remark in exporter.remarks]

    @property
    def needs_probs(self) -> bool:
        """Whether an output needs probabilities."""
        return self.outputs.save_probabilities or any(exporter.needs_probs for exporter in self.exporters)

    def given(self, index: int, frame: UInt8[np.ndarray, "h w 3"], given: Given) -> None:
        """Writes a frame whose complete mask is given."""
        if isinstance(given, Mapping):
            mask = np.array([*given.values()], bool).reshape(-1, *frame.shape[:2])
            probs = np.concatenate([~mask.any(0, keepdims=True), mask]) if self.needs_probs else None
            self._write(index, frame, mask, np.array([0, *given]), probs)
        else:
            ids = np.unique(np.append(given, given.dtype.type(0)))
            self._write(index, frame, given, ids, given == ids[:, None, None] if self.needs_probs else None)

    def later(self, index: int, frame: UInt8[np.ndarray, "h w 3"], found: Segmented) -> None:
        """Fetches the results of a segmented frame from the device and writes the results to files."""
        probs = found.probs if self.needs_probs else None
        self._write(index, frame, found.mask, found.ids, probs)

    def _write(self, index: int, frame: np.ndarray, mask: np.ndarray, ids: np.ndarray, probs: np.ndarray | None) -> None:
        self.outputs.run.require_present()
        try:
            self._write_files(index, frame, mask, ids, probs)
        except DataError:
            self.outputs.run.require_present()  # if the folder no longer exists, raises an error that explains why
            raise

    def _write_files(self, index: int, frame: np.ndarray, mask: np.ndarray, ids: np.ndarray, probs: np.ndarray | None) -> None:
        name = self.clip.frame_name(index)
        if self.clip.requested is None or name in self.clip.requested:
            self.outputs.mask_files.write(self.staged / MASKS, self.clip.name, name, mask, ids)
            if self.outputs.save_probabilities:
                assert probs is not None  # `given` and `later` pass probabilities if `needs_probs` is True
                with atomic_path(self.staged / PROBABILITIES / self.clip.name / f"{name}.npz") as temporary:
                    np.savez_compressed(temporary, probs=probs.astype(np.float16), ids=ids)
        for exporter in self.exporters:
            is_soft = probs is not None and probs.dtype != np.bool_
            by_id = dict(zip(ids.tolist(), np.asarray(probs), strict=True)) if is_soft else None
            exporter.write(masked_frame(self.clip.video, index, frame, mask, by_id))
        if self.outputs.overlays or self.movie is not None:
            if mask.ndim == 3:
                mask = flatten(dict(zip(ids[1:].tolist(), mask, strict=True)), frame.shape[:2])
            picture = overlay(frame, mask)
            if self.outputs.overlays:
                write_image(self.staged / OVERLAYS / self.clip.name / f"{name}.png", picture)
            if self.movie is not None:
                self.movie.write(picture)


def _kinds(record: Record) -> dict[str, str]:
    """Returns the kinds of outputs that an earlier run wrote for a clip, with the frame rates of movies and exports."""
    kinds = (record.about or {}).get("kinds")
    return kinds if isinstance(kinds, dict) else {}


def require_apart(
    folder: AnyPath, clips: Sequence[Clip], outputs: Outputs, lists: Sequence[Path], doomed: Sequence[AnyPath] = ()
) -> None:
    """Raises ConfigError if an input would be replaced or deleted, or if the output folder is in a folder of inputs.

    Args:
        folder: the output folder.
        clips: the clips whose files are the inputs.
        outputs: the outputs that will be written.
        lists: folders that are searched for sequences or masks.
        doomed: the files that will be deleted.
    """
    if is_bucket(folder):
        return  # inputs are local files or local copies, so they are not in the bucket
    home = folder.resolve()
    for listed in lists:
        if home == listed.resolve() or listed.resolve() in home.parents:
            raise ConfigError(
                f"{folder}: the output folder is in {listed}, which is searched for inputs. "
                "Pass an --output outside of this folder."
            )
    inputs = {_identity(path) for clip in clips for path in clip.files if path.exists()}
    written = (folder / name for clip in clips for name in outputs.names(clip))
    for path in filter(Path.exists, (*written, *doomed)):
        if _identity(path) in inputs:
            raise ConfigError(f"{path}: the run would replace or delete this file, which is an input. Choose another --output.")


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino
