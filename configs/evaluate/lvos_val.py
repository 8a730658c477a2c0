"""LVOS v1 and v2 validation: videos longer than a minute, whose objects may first appear in later frames. Masks are public.

    python evaluate.py --config configs/evaluate/lvos_val.py --data LVOS --checkpoint OUT --output RUN
    python evaluate.py --config configs/evaluate/lvos_val.py --data LVOS --score PRED

LVOS contains JPEGImages/VIDEO/FRAME.jpg, Annotations/VIDEO/FRAME.png, valid_meta.json and, for scores, unseen_videos.txt from
the LVOS toolkit. Each object starts with a given mask, in the first frame that shows the object. Reports J, F and V (the
standard deviation of J&F over time) for seen and for unseen classes, and the mean of both. The memory is limited to 50 frames
(max_memory_frames).
"""

from ml_collections import ConfigDict

from hmmn_jax.evaluation.benchmarks import benchmark_settings


def get_config() -> ConfigDict:
    """Follows the protocol of LVOS."""
    return benchmark_settings("lvos_val")
