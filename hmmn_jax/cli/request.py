"""Defines the options of an evaluation."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ml_collections import ConfigDict

from hmmn_jax.errors import ConfigError
from hmmn_jax.evaluation.protocols import registered
from hmmn_jax.exports import KINDS
from hmmn_jax.io.buckets import AnyPath, as_path, is_bucket
from hmmn_jax.io.stage import Stage


@dataclass(frozen=True)
class Request:
    """The inputs, outputs and settings of an evaluation.

    Attributes:
        config: the settings, in the format of the files in `configs/evaluate`.
        data: root folder of a benchmark; None if `frames` is set.
        frames: a folder of images or a video file; None if `data` is set.
        mask: with `frames`, a PNG with the ids of the objects in the first frame, or a folder with masks of some frames.
        checkpoint: a checkpoint that `load_checkpoint` can read.
        step: the step to load if `checkpoint` is a training run: a number, "best", or None for the latest step.
        score: a folder with masks SEQUENCE/FRAME.png; if set, these masks are scored, and nothing is segmented.
        output: the folder to write to; required unless `score` is set.
        stage: the folder for local copies of inputs from a bucket, for reuse in later runs; None for a temporary folder.
        overlays: whether to also write each frame with coloured objects.
        movie: the kind of movie to write for each video, "mp4" or "gif", or None for no movie.
        exports: additional formats of the masks, each one a key of `hmmn_jax.exports.KINDS`.
        overwrite: whether to first delete the files that earlier runs wrote to `output`.
        takeover: whether to take over `output` from a process that appears to be running.
        fit: with `frames`, the config fields that `fit_settings` chooses based on the video and the available memory.
    """

    config: ConfigDict
    data: AnyPath | None = None
    frames: AnyPath | None = None
    mask: AnyPath | None = None
    checkpoint: AnyPath | None = None
    step: int | Literal["best"] | None = None
    score: AnyPath | None = None
    output: AnyPath | None = None
    stage: Path | None = None
    overlays: bool = False
    movie: str | None = None
    exports: tuple[str, ...] = ()
    overwrite: bool = False
    takeover: bool = False
    fit: frozenset[str] = frozenset()


def check_request(request: Request) -> None:
    """Raises ConfigError if flags are incompatible, and DataError if the scheme of a URL is not supported."""
    for path in filter(None, (request.data, request.frames, request.mask, request.score, request.output)):
        as_path(path)
    for path in filter(None, (request.data, request.frames, request.mask, request.score)):
        if is_bucket(path) and f"{request.output}/".startswith(f"{path}/"):
            raise ConfigError(f"{request.output} is inside the input {path}. Pass an --output outside the input.")
    if (request.data is None) == (request.frames is None):
        raise ConfigError("pass either --data ROOT for a benchmark, or --frames DIR|FILE and --mask FILE for your own video")
    if request.frames is not None and request.mask is None:
        raise ConfigError(
            "--frames needs --mask. Pass an indexed PNG with the ids of the objects in the first frame, or a folder with the "
            "masks of some frames."
        )
    if request.mask is not None and request.frames is None:
        raise ConfigError(
            "--mask needs --frames. With --data, the masks are read from the annotations folder of the benchmark."
        )
    if request.score is not None and (request.frames or request.checkpoint):
        raise ConfigError("--score reads existing masks of a benchmark. Pass --data, and omit --frames and --checkpoint.")
    if request.score is not None and (request.overlays or request.movie or request.exports or request.overwrite):
        raise ConfigError("--overlays, --movie, --export and --overwrite cannot be combined with --score")
    if unknown := [kind for kind in request.exports if kind not in KINDS]:
        raise ConfigError(f"--export contains {unknown[0]!r}, expected one or more of {', '.join(KINDS)}, separated by commas")
    if request.exports and registered()[request.config.protocol].mask_files.overlapping:
        raise ConfigError("--export does not support overlapping objects, but the objects of this benchmark may overlap")
    if request.fit and request.frames is None:
        raise ConfigError(
            "settings can be chosen automatically only for a single video. With --data, the settings of the benchmark are used."
        )
    if request.frames is not None and (request.config.get("sequences") or request.config.get("late_objects")):
        raise ConfigError("--config.sequences and --config.late_objects need --data and cannot be combined with --frames")
    if request.score is not None and not is_bucket(request.score) and not request.score.is_dir():
        raise ConfigError(f"{request.score} is not an existing folder. Pass a folder with masks SEQUENCE/FRAME.png.")
    if request.score is None and request.output is None:
        raise ConfigError("--output is missing. Pass the output folder.")
    if request.score is None and request.checkpoint is None:
        raise ConfigError(
            "--checkpoint is missing. Pass the bundled model lite, an output of convert_weights.py or train.py, or a "
            "checkpoint file."
        )
    if request.step is not None and request.checkpoint is None:
        raise ConfigError("--step needs --checkpoint RUN, where RUN is the workdir of a training run")


def fetch_inputs(request: Request, stage: Stage) -> Request:
    """Downloads videos and masks from buckets, but not the checkpoint. Returns a request with local paths.

    Raises DataError if an input cannot be copied.
    """
    paths = {name: getattr(request, name) for name in ("data", "frames", "mask", "score")}
    copies: dict[str, Any] = {name: stage.fetch(path) for name, path in paths.items() if path is not None}
    return dataclasses.replace(request, **copies)
