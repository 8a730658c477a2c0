"""The request of a command to an evaluation."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ml_collections import ConfigDict

from hmmn_jax.errors import ConfigError
from hmmn_jax.evaluation.protocols import registered
from hmmn_jax.exports import KINDS
from hmmn_jax.io.buckets import AnyPath
from hmmn_jax.io.files import local_path


@dataclass(frozen=True)
class Request:
    """What to evaluate.

    Attributes:
        config: as the files in `configs` give it.
        data: root of a benchmark; None with `frames`.
        frames: a folder of images or a video file; None with `data`.
        mask: with `frames`, the ids of the objects in the first frame, or a folder with masks of some frames.
        checkpoint: what `load_checkpoint` reads.
        step: of a training workdir as the checkpoint, a number or "best"; None: the latest.
        score: instead of segmenting, a folder of masks SEQUENCE/FRAME.png to be scored.
        output: folder to write to; needed but for `score`.
        overlays: also write a picture of each frame.
        movie: also write a movie of each video, "mp4" or "gif".
        exports: also write the masks in these formats, keys of `hmmn_jax.exports.KINDS`.
        overwrite: first delete what earlier runs wrote to `output`.
        takeover: take `output` from a process that seems alive.
        fit: with `frames`, the fields of the config that `fit_settings` chooses by the video and the machine.
    """

    config: ConfigDict
    data: Path | None = None
    frames: Path | None = None
    mask: Path | None = None
    checkpoint: AnyPath | None = None
    step: int | Literal["best"] | None = None
    score: Path | None = None
    output: Path | None = None
    overlays: bool = False
    movie: str | None = None
    exports: tuple[str, ...] = ()
    overwrite: bool = False
    takeover: bool = False
    fit: frozenset[str] = frozenset()


def check_request(request: Request) -> None:
    """Raises ConfigError for flags that do not go together, DataError for a path in a bucket, other than the checkpoint."""
    for path in (request.data, request.frames, request.mask, request.score, request.output):
        if path is not None:
            local_path(path)
    if (request.data is None) == (request.frames is None):
        raise ConfigError("give either --data ROOT (a benchmark) or --frames DIR|FILE --mask FILE (a video of your own)")
    if request.frames is not None and request.mask is None:
        raise ConfigError(
            "--frames needs --mask: an indexed PNG with the ids of the objects in the first frame, or a folder of such"
        )
    if request.mask is not None and request.frames is None:
        raise ConfigError("--mask goes with --frames; with --data masks are found in its folder of annotations")
    if request.score is not None and (request.frames or request.checkpoint):
        raise ConfigError("--score takes existing masks: give it with --data, without --frames and --checkpoint")
    if request.score is not None and (request.overlays or request.movie or request.exports or request.overwrite):
        raise ConfigError("--overlays, --movie, --export and --overwrite go with segmenting, not with --score")
    if unknown := [kind for kind in request.exports if kind not in KINDS]:
        raise ConfigError(f"--export has {unknown[0]!r}, expected some of {', '.join(KINDS)}, with commas between")
    if request.exports and registered()[request.config.protocol].mask_files.overlapping:
        raise ConfigError("--export needs objects that exclude each other; those of this benchmark overlap")
    if request.fit and request.frames is None:
        raise ConfigError("settings are chosen by one video, given as frames; with --data they are those of the benchmark")
    if request.frames is not None and (request.config.get("sequences") or request.config.get("late_objects")):
        raise ConfigError("--config.sequences and --config.late_objects go with --data; --frames is one video with one mask")
    if request.score is not None and not request.score.is_dir():
        raise ConfigError(f"{request.score}: no such folder; give one with masks SEQUENCE/FRAME.png")
    if request.score is None and request.output is None:
        raise ConfigError("--output is missing: the folder to write to")
    if request.score is None and request.checkpoint is None:
        raise ConfigError("--checkpoint is missing: lite, a folder that convert_weights.py or train.py wrote, or one file")
    if request.step is not None and request.checkpoint is None:
        raise ConfigError("--step goes with --checkpoint RUN, the workdir of a training run")
