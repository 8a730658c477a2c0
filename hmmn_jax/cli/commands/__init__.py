"""Lists the commands of `hmmn-jax`, each with a one-line description.

Each command is a module whose docstring is the help text. The function `add_arguments(parser)` of the module defines the
arguments, and `run(options)` runs the command. JAX and other slow modules are imported only in `run`.
"""

COMMANDS = {
    "segment": "segment your own video: a video file or a folder of images",
    "paint": "paint, propagate and correct the masks of a video in the browser",
    "evaluate": "segment the videos of a benchmark, and score the masks where annotations are available",
    "score": "score masks on disk from any method",
    "export": "export masks on disk as layers, COCO or YouTube-VIS JSON, or a movie",
    "convert": "convert PyTorch checkpoints to and from the format of this package",
    "demo": "segment and score the bundled clip",
}
