"""Settings for MOSE v1 validation. Only the masks of the first frames are public. The evaluation server scores a zip file.

    python evaluate.py --config configs/evaluate/mose1_val.py --data MOSE --checkpoint OUT --output RUN
    python evaluate.py --config configs/evaluate/mose1_val.py --data MOSE --score PRED

MOSE is the folder of a split, such as valid, and contains JPEGImages/VIDEO/FRAME.jpg and Annotations/VIDEO/FRAME.png. The
program writes RUN/masks and RUN/submission.zip, which contains VIDEO/FRAME.png for every frame. `--score` computes DAVIS's J
and F for fully annotated videos, such as those of the training set. The value 255 in a predicted mask is an error.
"""

from ml_collections import ConfigDict

from hmmn_jax.evaluation.benchmarks import benchmark_settings


def get_config() -> ConfigDict:
    """Returns the settings for MOSE v1 validation, including the zip file for the evaluation server."""
    return benchmark_settings("mose1_val")
