"""MOSE v2 validation: objects that disappear and reappear, in crowds; the server scores a zip.

    python evaluate.py --config configs/evaluate/mose2_val.py --data MOSE --checkpoint OUT --output RUN
    python evaluate.py --config configs/evaluate/mose2_val.py --data MOSE --score PRED

MOSE is laid out as in configs/evaluate/mose1_val.py. A meta.json next to JPEGImages, if it exists, names videos, frames and
objects. RUN/submission.zip has VIDEO/FRAME.png of every frame at the root. It is not written for a single video, which the
server scores as 0. With all annotations `--score` reports the figures of the server, in percent: J&dotF, J, dotF (F with an
adaptive tolerance), J&dotF_d (while an object is hidden), J&dotF_r (after it returns), F, J&F.
"""

from ml_collections import ConfigDict

from hmmn_jax.evaluation.benchmarks import benchmark_settings


def get_config() -> ConfigDict:
    """Like MOSE v1, with its own figures."""
    return benchmark_settings("mose2_val")
