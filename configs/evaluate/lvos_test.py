"""Settings for the LVOS v1 test set. Only the first mask of each object is public. The evaluation server scores a zip file.

    python evaluate.py --config configs/evaluate/lvos_test.py --data LVOS --checkpoint OUT --output RUN
    python evaluate.py --config configs/evaluate/lvos_test.py --data LVOS --score PRED

The folder LVOS has the layout described in configs/evaluate/lvos_val.py, but contains test_meta.json instead of
valid_meta.json. RUN/submission.zip contains Annotations/VIDEO/FRAME.png for every frame.
"""

from ml_collections import ConfigDict

from hmmn_jax.evaluation.benchmarks import benchmark_settings


def get_config() -> ConfigDict:
    """Returns the settings for the LVOS test set, including the zip file for the evaluation server."""
    return benchmark_settings("lvos_test")
