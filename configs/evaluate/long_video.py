"""Long-time Video: three videos of thousands of frames, few of them annotated.

    python evaluate.py --config configs/evaluate/long_video.py --data LONG --checkpoint OUT --output RUN
    python evaluate.py --config configs/evaluate/long_video.py --data LONG --score PRED

LONG has JPEGImages/VIDEO/FRAME.jpg, Annotations/VIDEO/FRAME.png of some frames, the first included, and val.txt. Reports J and
F of DAVIS on the annotated frames except the first and the last, as later papers do; the data set's own scorer excludes only
the first. The memory is bounded, to 50 frames (max_memory_frames).
"""

from ml_collections import ConfigDict

from hmmn_jax.evaluation.benchmarks import benchmark_settings


def get_config() -> ConfigDict:
    """The annotated frames as DAVIS scores them."""
    return benchmark_settings("long_video")
