"""LVOS v1 test: only the first mask of each object is public. The server scores a zip file.

    python evaluate.py --config configs/evaluate/lvos_test.py --data LVOS --checkpoint OUT --output RUN
    python evaluate.py --config configs/evaluate/lvos_test.py --data LVOS --score PRED

LVOS has the same layout as in configs/evaluate/lvos_val.py, but with test_meta.json. RUN/submission.zip contains
Annotations/VIDEO/FRAME.png for every frame.
"""

from ml_collections import ConfigDict

from hmmn_jax.evaluation.benchmarks import benchmark_settings


def get_config() -> ConfigDict:
    """Like validation, but writes a zip file for the server."""
    return benchmark_settings("lvos_test")
