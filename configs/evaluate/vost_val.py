"""VOST validation: objects that are cut, folded or poured; the masks are public.

    python evaluate.py --config configs/evaluate/vost_val.py --data VOST --checkpoint OUT --output RUN
    python evaluate.py --config configs/evaluate/vost_val.py --data VOST --score PRED

VOST has ImageSets/val.txt, Annotations/VIDEO/FRAME.png (5 frames per second) and JPEGImages_10fps/VIDEO/FRAME.jpg, which are
segmented; without them, those of JPEGImages. Masks of annotated frames are written. Reports J and J_tr, J over the last
quarter of the frames, with recall and decay; there is no F.
"""

from ml_collections import ConfigDict

from hmmn_jax.evaluation.benchmarks import benchmark_settings


def get_config() -> ConfigDict:
    """J of annotated frames."""
    return benchmark_settings("vost_val")
