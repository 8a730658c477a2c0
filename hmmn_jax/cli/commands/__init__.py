"""The commands of `hmmn-jax`, one module each, with a one-line description.

A module has its help as docstring, `add_arguments(parser)`, and `run(options)`, which imports JAX and other slow modules.
"""

COMMANDS = {
    "segment": "segment a video of your own: a video file, or a folder of images",
    "paint": "paint, propagate and correct masks of a video on a page in the browser",
    "evaluate": "segment the videos of a benchmark, and score them where it has annotations",
    "score": "score masks that are on disk, made by any method",
    "export": "write masks that are on disk as layers, COCO or YouTube-VIS JSON, or a movie",
    "convert": "convert PyTorch checkpoints to and from this package's own",
    "demo": "segment the clip that comes with the package, and score it",
}
