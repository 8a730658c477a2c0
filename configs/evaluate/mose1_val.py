"""MOSE v1 validation: only the masks of the first frames are public. The server scores a zip file.

    python evaluate.py --config configs/evaluate/mose1_val.py --data MOSE --checkpoint OUT --output RUN
    python evaluate.py --config configs/evaluate/mose1_val.py --data MOSE --score PRED

MOSE contains JPEGImages/VIDEO/FRAME.jpg and Annotations/VIDEO/FRAME.png, like the folder MOSE/valid. Writes RUN/masks and
RUN/submission.zip, which contains VIDEO/FRAME.png for every frame. `--score` computes DAVIS's J and F for videos with all
annotations, such as the training set. The value 255 in a result is an error.
"""

from ml_collections import ConfigDict

from hmmn_jax.evaluation.benchmarks import benchmark_settings


def get_config() -> ConfigDict:
    """Writes the zip file for the server."""
    return benchmark_settings("mose1_val")
