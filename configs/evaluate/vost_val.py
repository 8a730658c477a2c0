"""Settings for the VOST validation set, in which objects are cut, folded or poured. The masks are public.

    python evaluate.py --config configs/evaluate/vost_val.py --data VOST --checkpoint OUT --output RUN
    python evaluate.py --config configs/evaluate/vost_val.py --data VOST --score PRED

VOST contains ImageSets/val.txt, Annotations/VIDEO/FRAME.png (5 frames per second) and JPEGImages_10fps/VIDEO/FRAME.jpg. The
program segments the frames in JPEGImages_10fps if this folder exists, and otherwise the frames in JPEGImages. Masks are written
for annotated frames. The metrics are the mean, recall and decay of J and of J_tr. J_tr is J over the last quarter of the scored
frames. VOST does not use F.
"""

from ml_collections import ConfigDict

from hmmn_jax.evaluation.benchmarks import benchmark_settings


def get_config() -> ConfigDict:
    """Returns the settings for VOST validation, in which the annotated frames are scored with J."""
    return benchmark_settings("vost_val")
