"""VOST validation: objects are cut, folded or poured. Masks are public.

    python evaluate.py --config configs/evaluate/vost_val.py --data VOST --checkpoint OUT --output RUN
    python evaluate.py --config configs/evaluate/vost_val.py --data VOST --score PRED

VOST contains ImageSets/val.txt, Annotations/VIDEO/FRAME.png (5 frames per second) and JPEGImages_10fps/VIDEO/FRAME.jpg. The
frames in JPEGImages_10fps are segmented, or those in JPEGImages if that folder does not exist. Masks are written for annotated
frames. Reports J and J_tr (J over the last quarter of the frames) with recall and decay. VOST does not use F.
"""

from ml_collections import ConfigDict

from hmmn_jax.evaluation.benchmarks import benchmark_settings


def get_config() -> ConfigDict:
    """Scores the annotated frames by J."""
    return benchmark_settings("vost_val")
