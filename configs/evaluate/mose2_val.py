"""MOSE v2 validation set, with crowded scenes in which objects disappear and reappear. The evaluation server scores a zip file.

    python evaluate.py --config configs/evaluate/mose2_val.py --data MOSE --checkpoint OUT --output RUN
    python evaluate.py --config configs/evaluate/mose2_val.py --data MOSE --score PRED

The folder MOSE has the layout described in configs/evaluate/mose1_val.py. If the file meta.json exists next to JPEGImages, it
determines the videos, frames and objects. RUN/submission.zip contains VIDEO/FRAME.png for every frame. A zip file with a single
video is not written, because the server would score the video as 0. If all frames are annotated, `--score` reports the server's
metrics in percent: J&dotF, J, dotF, J&dotF_d, J&dotF_r, F and J&F. dotF is F with an adaptive tolerance. J&dotF_d is J&dotF
while an object is hidden, and J&dotF_r is J&dotF after an object reappears.
"""

from ml_collections import ConfigDict

from hmmn_jax.evaluation.benchmarks import benchmark_settings


def get_config() -> ConfigDict:
    """Returns the settings for MOSE v2 validation, which uses different metrics from MOSE v1."""
    return benchmark_settings("mose2_val")
