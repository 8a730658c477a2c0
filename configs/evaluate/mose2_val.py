"""MOSE v2 validation: crowded scenes in which objects disappear and reappear. The server scores a zip file.

    python evaluate.py --config configs/evaluate/mose2_val.py --data MOSE --checkpoint OUT --output RUN
    python evaluate.py --config configs/evaluate/mose2_val.py --data MOSE --score PRED

MOSE has the same layout as in configs/evaluate/mose1_val.py. If there is a meta.json next to JPEGImages, it determines the
videos, frames and objects. RUN/submission.zip contains VIDEO/FRAME.png for every frame. It is not written for a single video,
because the server would score the zip file as 0. If all frames are annotated, `--score` reports the server's metrics in
percent: J&dotF, J, dotF (F with an adaptive tolerance), J&dotF_d (while an object is hidden), J&dotF_r (after the object
reappears), F and J&F.
"""

from ml_collections import ConfigDict

from hmmn_jax.evaluation.benchmarks import benchmark_settings


def get_config() -> ConfigDict:
    """Like MOSE v1, but with different metrics."""
    return benchmark_settings("mose2_val")
