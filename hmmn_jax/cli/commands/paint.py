"""Opens a page in the browser to paint objects, propagate them through a video, and correct and export the masks.

VIDEO is a video file or a folder of images. The default is the bundled clip. By default, the page is served only to this
machine. Changes are saved immediately in a project folder. The default project folder is VIDEO.hmmn in the working directory.

  hmmn-jax paint
  hmmn-jax paint clip.mp4
  hmmn-jax paint clip.mp4 --project WORK --checkpoint HMMN_weights.pth
  hmmn-jax paint --project WORK                       # resume

To stop the command, press Ctrl-C. To resume, run the same command again. To install the required packages, run
pip install 'hmmn-jax[paint]'. Video files also require 'hmmn-jax[video]'.
"""

import argparse
import importlib.util

from hmmn_jax.cli.arguments import local
from hmmn_jax.cli.commands.common import add_cache, add_takeover, add_weights, start, weights

NEEDED = ("starlette", "uvicorn")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    add = parser.add_argument
    add(
        "video",
        type=local,
        metavar="VIDEO",
        nargs="?",
        help="video file, or folder of images (default: the bundled clip)",
    )
    add("--project", type=local, metavar="DIR", help="folder of the project (default: VIDEO.hmmn in the working directory)")
    add(
        "--size",
        type=int,
        metavar="N",
        help="shorter side of the network's input in pixels, or 0 for full size (default: at most 480); masks have the size of "
        "the video",
    )
    add_takeover(parser)
    group = parser.add_argument_group("server")
    add = group.add_argument
    add(
        "--host",
        default="127.0.0.1",
        help="address to listen on (default: %(default)s, this machine only); with another address, other machines can try to "
        "guess the access token, and the connection is not encrypted",
    )
    add("--port", type=int, default=0, metavar="N", help="port to listen on (default: any free port)")
    add("--no-browser", action="store_true", help="print the address instead of opening a browser")
    add_weights(parser)
    add_cache(parser)


def run(options: argparse.Namespace) -> None:
    """Runs the command."""
    from hmmn_jax.errors import ConfigError

    for name in NEEDED:
        if importlib.util.find_spec(name) is None:
            raise ConfigError(f"paint needs {name}, which is not installed. Run: pip install 'hmmn-jax[paint]'")
    from hmmn_jax.io.bundled import DEMO_CLIP

    video = options.video
    if video is None and options.project is None:
        video = DEMO_CLIP / "JPEGImages/240p/koi"
    model = weights(options)
    start(options)
    from hmmn_jax.checkpoints.store import load_checkpoint
    from hmmn_jax.inference import Segmenter
    from hmmn_jax.io.video import Video
    from hmmn_jax.paint.fitting import fitted_segmenter
    from hmmn_jax.paint.opening import default_folder
    from hmmn_jax.paint.server import paint

    def make_segmenter(video: Video) -> Segmenter:
        return fitted_segmenter(*load_checkpoint(model["checkpoint"], model["step"]), video, options.size)

    folder = options.project or default_folder(video)
    served = options.host, options.port, not options.no_browser, options.takeover, options.size
    paint(folder, video, make_segmenter, str(model["checkpoint"]), *served)
