"""Long-time Video: three videos of thousands of frames, few of them annotated.

    python evaluate.py --config configs/evaluate/long_video.py --data LONG --checkpoint OUT --output RUN
    python evaluate.py --config configs/evaluate/long_video.py --data LONG --score PRED

LONG has JPEGImages/VIDEO/FRAME.jpg, Annotations/VIDEO/FRAME.png of the first and some other frames, and val.txt. Reports J and
F of DAVIS on the annotated frames except the first and the last, as in later papers; the scorer of the data set only excludes
the first. The memory is limited to 50 frames (max_memory_frames).
"""

from ml_collections import ConfigDict

from hmmn_jax.evaluation.benchmarks import benchmark_settings


def get_config() -> ConfigDict:
    """Scores the annotated frames like DAVIS."""
    return benchmark_settings("long_video")
