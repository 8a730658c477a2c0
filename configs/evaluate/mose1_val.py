"""MOSE v1 validation: of every video the mask of the first frame is public; the server scores a zip.

    python evaluate.py --config configs/evaluate/mose1_val.py --data MOSE --checkpoint OUT --output RUN
    python evaluate.py --config configs/evaluate/mose1_val.py --data MOSE --score PRED

MOSE has JPEGImages/VIDEO/FRAME.jpg and Annotations/VIDEO/FRAME.png, as MOSE/valid has. Writes RUN/masks and
RUN/submission.zip, with VIDEO/FRAME.png of every frame at the root. Videos with all annotations, such as the training
set, are scored by `--score`: J and F of DAVIS, of which 255 in a result is an error.
"""

from ml_collections import ConfigDict

from hmmn_jax.evaluation.benchmarks import benchmark_settings


def get_config() -> ConfigDict:
    """The zip for the server."""
    return benchmark_settings("mose1_val")
