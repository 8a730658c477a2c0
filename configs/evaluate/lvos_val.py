"""LVOS v1 and v2 validation: videos longer than a minute, whose objects may start on later frames. Masks are public.

    python evaluate.py --config configs/evaluate/lvos_val.py --data LVOS --checkpoint OUT --output RUN
    python evaluate.py --config configs/evaluate/lvos_val.py --data LVOS --score PRED

LVOS has JPEGImages/VIDEO/FRAME.jpg, Annotations/VIDEO/FRAME.png, valid_meta.json and, for scores, unseen_videos.txt of the
toolkit of LVOS. Each object's mask in the first frame that shows it is given. Reports J, F and V (the standard deviation of J&F
over time) for seen classes, for unseen classes, and their mean. The memory is limited to 50 frames (max_memory_frames).
"""

from ml_collections import ConfigDict

from hmmn_jax.evaluation.benchmarks import benchmark_settings


def get_config() -> ConfigDict:
    """The protocol of LVOS."""
    return benchmark_settings("lvos_val")
