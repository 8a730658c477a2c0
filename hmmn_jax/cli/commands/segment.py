"""Segments objects in all frames of a video, given their masks in one or several frames.

VIDEO is a video file or a folder of images. The mask is an indexed PNG of the same size as the first frame. In the mask, each
object has its own id (1, 2, ...), and the background is 0. A mask that contains only 0 and 255 has one object. To annotate
several frames, pass a folder of masks as --mask. Each mask is named after its frame. The frames of a video file are counted
from 0. For example, the mask of frame 12 is named 00012.png. If an object is missing from a mask, the object is considered
absent from that frame. A frame between two masks is segmented using both masks. Many paint programs can save indexed PNGs. To
draw masks in the browser, use 'hmmn-jax paint VIDEO'.

  hmmn-jax segment clip.mp4 --mask first.png --output OUT
  hmmn-jax segment FRAMES --mask FRAMES_MASKS/00000.png --output OUT --movie gif
  hmmn-jax segment clip.mp4 --mask MASKS --output OUT --direction both --export rgba,coco
  hmmn-jax segment clip.mp4 --mask first.png --output OUT --size 720 --max-memory-frames 20
  hmmn-jax segment clip.mp4 --mask first.png --output OUT --checkpoint HMMN_weights.pth

Writes OUT/masks/NAME/FRAME.png with the ids of the given masks, and OUT/report.html. For a video file, also writes
OUT/movies/NAME.mp4 with the size and frame rate of VIDEO. If a run is interrupted, run the command again. Video files require
PyAV. To install PyAV, run pip install 'hmmn-jax[video]'.
"""

import argparse

from hmmn_jax.cli.arguments import local, override
from hmmn_jax.cli.commands.common import add_cache, add_exports, add_outputs, add_overrides, add_weights, start, weights
from hmmn_jax.errors import ConfigError

MOVIES = ("mp4", "gif", "none")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    parser.add_argument("video", type=local, metavar="VIDEO", help="video file, or folder of images")
    text = "PNG with the ids of the objects in the first frame, or a folder with masks of some frames"
    parser.add_argument("--mask", type=local, metavar="PNG", help=text)
    text = "direction of propagation if --mask is a folder (default: both)"
    parser.add_argument("--direction", choices=("both", "forward", "backward"), help=text)
    output = add_outputs(parser)
    output.add_argument(
        "--movie", choices=MOVIES, help="movie with coloured objects (default: mp4 for a video file, else none)"
    )
    add_exports(output)
    cost = parser.add_argument_group("accuracy, time and memory")
    add = cost.add_argument
    add(
        "--size",
        type=int,
        metavar="N",
        help="shorter side of the network's input in pixels, or 0 for full size (default: at most 480)",
    )
    add("--mem-every", type=int, metavar="N", help="add every N-th frame to the memory (default: 5)")
    add(
        "--max-memory-frames",
        type=int,
        metavar="N",
        help="keep at most N memory frames, or 0 for no limit (default: depends on free memory)",
    )
    add_weights(parser)
    add_overrides(parser)
    add_cache(parser)


def run(options: argparse.Namespace) -> None:
    """Segments the video with the given options, and writes the results."""
    from hmmn_jax.cli.request import Request
    from hmmn_jax.evaluation.benchmarks import benchmark_settings

    if options.mask is None:
        expected = "a PNG with the ids of the objects in the first frame, or a folder with the masks of some frames"
        raise ConfigError(
            f"--mask is missing. Pass {expected}. To draw masks in the browser, run 'hmmn-jax paint {options.video}'."
        )
    config = benchmark_settings("custom")
    given = override(config, options.assignments)
    if options.direction is not None:
        config.direction = options.direction
    for name in ("size", "mem_every", "max_memory_frames"):
        if (value := getattr(options, name)) is not None:
            config[name] = value
            given.add(name)
    model = weights(options)
    start(options)
    from hmmn_jax.cli.evaluate import evaluate
    from hmmn_jax.evaluation.fit import BOUND, SIZE

    evaluate(
        Request(
            config,
            frames=options.video,
            mask=options.mask,
            output=options.output,
            overlays=options.overlays,
            movie=_movie(options),
            exports=options.export,
            overwrite=options.overwrite,
            takeover=options.takeover,
            fit=frozenset({SIZE, BOUND} - given),
            **model,
        )
    )


def _movie(options: argparse.Namespace) -> str | None:
    """Returns the kind of movie to write.

    The default for a video file is mp4. An mp4 movie needs no additional package, because PyAV is already required to read
    the video file.
    """
    from hmmn_jax.io.video_file import PAGED_SUFFIXES

    if options.movie is None:
        return "mp4" if options.video.is_file() and options.video.suffix.lower() not in PAGED_SUFFIXES else None
    return None if options.movie == "none" else options.movie
