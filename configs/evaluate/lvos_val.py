"""Settings for the LVOS v1 and v2 validation sets. Objects may first appear in later frames. The masks are public.

    python evaluate.py --config configs/evaluate/lvos_val.py --data LVOS --checkpoint OUT --output RUN
    python evaluate.py --config configs/evaluate/lvos_val.py --data LVOS --score PRED

LVOS contains JPEGImages/VIDEO/FRAME.jpg, Annotations/VIDEO/FRAME.png and valid_meta.json. Scoring also requires
unseen_videos.txt from the LVOS toolkit. The videos are longer than a minute. The mask of each object is given in the first
frame that shows the object. J, F and V are computed for seen classes and for unseen classes, and then averaged over the two
groups. V is the standard deviation of J&F over time. The memory is limited to 50 frames (max_memory_frames).
"""

from ml_collections import ConfigDict

from hmmn_jax.evaluation.benchmarks import benchmark_settings


def get_config() -> ConfigDict:
    """Returns the settings for LVOS validation."""
    return benchmark_settings("lvos_val")
