"""MOSE v1 validation: only the masks of the first frames are public; the server scores a zip.

    python evaluate.py --config configs/evaluate/mose1_val.py --data MOSE --checkpoint OUT --output RUN
    python evaluate.py --config configs/evaluate/mose1_val.py --data MOSE --score PRED

MOSE has JPEGImages/VIDEO/FRAME.jpg and Annotations/VIDEO/FRAME.png, like MOSE/valid. Writes RUN/masks and RUN/submission.zip,
which has VIDEO/FRAME.png for every frame. `--score` scores videos with all annotations, such as the training set, by J and F of
DAVIS; 255 in a result is an error.
"""

from ml_collections import ConfigDict

from hmmn_jax.evaluation.benchmarks import benchmark_settings


def get_config() -> ConfigDict:
    """Writes the zip for the server."""
    return benchmark_settings("mose1_val")
