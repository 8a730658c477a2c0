"""DAVIS-2016 validation: 20 sequences, one object each.

    python evaluate.py --config configs/evaluate/davis2016_val.py --data DAVIS --checkpoint OUT --output RUN
    python evaluate.py --config configs/evaluate/davis2016_val.py --data DAVIS --score PRED

The second command scores the masks PRED/SEQUENCE/FRAME.png of any method, in about 4 ms per frame on one core. DAVIS is the
folder with JPEGImages, Annotations and ImageSets. Masks of 0/255 or 0/1 and lists of names or frame pairs are supported. Paper
(quoted, not measured here): J&F 90.8 with YouTube-VOS in training, 89.4 without; 0.10 s per frame on an unspecified GPU.
"""

from ml_collections import ConfigDict

from hmmn_jax.evaluation.benchmarks import benchmark_settings


def get_config() -> ConfigDict:
    """All ids are one object, as DAVIS-2016 scores them."""
    return benchmark_settings("davis2016_val")
