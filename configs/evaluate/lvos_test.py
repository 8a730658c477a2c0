"""LVOS v1 test: only the first masks are public; the server scores a zip.

    python evaluate.py --config configs/evaluate/lvos_test.py --data LVOS --checkpoint OUT --output RUN
    python evaluate.py --config configs/evaluate/lvos_test.py --data LVOS --score PRED

LVOS has the layout of configs/evaluate/lvos_val.py, with test_meta.json. RUN/submission.zip has Annotations/VIDEO/FRAME.png for
every frame.
"""

from ml_collections import ConfigDict

from hmmn_jax.evaluation.benchmarks import benchmark_settings


def get_config() -> ConfigDict:
    """Like validation, but writes a zip for the server."""
    return benchmark_settings("lvos_test")
