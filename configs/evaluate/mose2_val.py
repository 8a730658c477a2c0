"""MOSE v2 validation: objects disappear and reappear, in crowded scenes; the server scores a zip.

    python evaluate.py --config configs/evaluate/mose2_val.py --data MOSE --checkpoint OUT --output RUN
    python evaluate.py --config configs/evaluate/mose2_val.py --data MOSE --score PRED

MOSE has the layout of configs/evaluate/mose1_val.py. If meta.json exists next to JPEGImages, it lists videos, frames and
objects. RUN/submission.zip has VIDEO/FRAME.png for every frame. It is not written for a single video, because the server would
score it as 0. If all frames are annotated, `--score` reports the figures of the server in percent: J&dotF, J, dotF (F with an
adaptive tolerance), J&dotF_d (while an object is hidden), J&dotF_r (after it returns), F, J&F.
"""

from ml_collections import ConfigDict

from hmmn_jax.evaluation.benchmarks import benchmark_settings


def get_config() -> ConfigDict:
    """Like MOSE v1, with other metrics."""
    return benchmark_settings("mose2_val")
