"""Settings for the DAVIS-2016 validation set, which has 20 sequences with one object each.

    python evaluate.py --config configs/evaluate/davis2016_val.py --data DAVIS --checkpoint OUT --output RUN
    python evaluate.py --config configs/evaluate/davis2016_val.py --data DAVIS --score PRED

With --score, the program scores masks PRED/SEQUENCE/FRAME.png from any method. Scoring takes about 4 ms per frame on one core.
DAVIS is the folder that contains JPEGImages, Annotations and ImageSets. Masks may have the values 0 and 255, or 0 and 1. The
list of sequences may contain names, or pairs of a frame and its mask.

The paper reports a J&F of 90.8 with YouTube-VOS in training, and 89.4 without it (not measured in this project). The speed in
the paper is 0.10 s per frame on an unspecified GPU.
"""

from ml_collections import ConfigDict

from hmmn_jax.evaluation.benchmarks import benchmark_settings


def get_config() -> ConfigDict:
    """Returns the settings for DAVIS-2016 validation, in which all ids are scored as one object."""
    return benchmark_settings("davis2016_val")
